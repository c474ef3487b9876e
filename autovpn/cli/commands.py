"""The group of all commands, and what they share: where things are, how they are printed, how usage errors end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import cleandoc
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from autovpn import __version__
from autovpn.cli.client import RUN_DIRECTORY
from autovpn.cli.document import Block

Command = TypeVar("Command", bound=Callable[..., Any])

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _existing(context: click.Context, option: click.Parameter, directory: Path) -> Path:
    """Refuse a folder that was named and isn't there: it is a slip, and no wish for the defaults."""
    named = context.get_parameter_source(option.name or "") is not ParameterSource.DEFAULT
    if named and not directory.is_dir():
        raise click.BadParameter(f"{directory} is not a directory")
    return directory


_config_option = partial(
    click.option,
    "--config",
    "config_directory",
    type=click.Path(path_type=Path),
    default=Path("/etc/autovpn"),
    show_default=True,
    metavar="DIR",
    help="Where autovpn.toml and profiles/ are.",
)
config_option = _config_option(callback=_existing)
unread_config_option = _config_option()  # recovering works from the records alone, with a lost configuration too
run_option = click.option(
    "--run-dir",
    "run_directory",
    default=RUN_DIRECTORY,
    show_default=True,
    metavar="DIR",
    help="Where the daemon's control socket is.",
)
state_option = click.option(
    "--state-dir",
    "state_directory",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/autovpn"),
    show_default=True,
    metavar="DIR",
    help="What must outlive a boot.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


class Teaching(click.Command):
    """A command whose help is its docstring as it was written: click would run examples into one paragraph."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the text line by line."""
        write_as_it_is(self.help or "", formatter)


class TeachingGroup(click.Group):
    """The same for the group of all commands."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the text line by line."""
        write_as_it_is(self.help or "", formatter)


def write_as_it_is(text: str, formatter: click.HelpFormatter) -> None:
    """Write lines that somebody has wrapped already, below the usage."""
    formatter.write("\n")
    for line in cleandoc(text).splitlines():
        formatter.write(f"  {line}".rstrip() + "\n")


@click.group(cls=TeachingGroup, context_settings=CONTEXT)
@click.version_option(__version__, "-V", "--version", message="autovpn %(version)s")
def cli() -> None:
    """Bring VPN tunnels up and down with the networks they belong to.

    The daemon watches the network, finds the profile that matches it, carries out the profile's steps (hooks, tunnel,
    routes, DNS), and undoes every one of them when the network goes.

    Begin with:
      autovpn check        is my configuration right?
      autovpn explain      which profile matches here, and why?
      autovpn status       what is the daemon doing?

    Exit status: 0 fine; 1 it failed, or problems were found; 2 wrong usage;
    3 the daemon isn't running; 130 interrupted; 141 the pipe it wrote to was closed.
    AUTOVPN_DEBUG=1 shows where an error came from.
    """


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status.

    Raises:
        AutovpnError: the command failed.
    """
    from autovpn.cli import asking, local

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an ASCII terminal must not turn a name into a failure
    for command in (*asking.COMMANDS, *local.COMMANDS):
        cli.add_command(command)
    try:
        # cli.main() would do the same and, besides, print an empty line at Ctrl-C.
        with cli.make_context("autovpn", arguments) as context:
            status = cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return status if isinstance(status, int) else 0


def show(report: Mapping[str, object], render: Callable[[dict[str, Any]], Iterable[Block]], *, as_json: bool) -> None:
    """Print a report: as JSON in pure ASCII, or as blocks for people."""
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    from autovpn.cli.paint import paint

    paint(render(dict(report)))


def say(report: Mapping[str, object], *, as_json: bool) -> int:
    """Print a message and its problems; return the exit status that they make."""
    from autovpn.cli.client import complain
    from autovpn.cli.safe import clean

    problems = report.get("problems")
    said = [str(problem) for problem in problems] if isinstance(problems, list) else []
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        message = report.get("message")
        if message:
            sys.stdout.write(f"{clean(str(message))}\n")
        for problem in said:
            complain(clean(problem))
    return 0 if report.get("ok", True) and not said else 1
