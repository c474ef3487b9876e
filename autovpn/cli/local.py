"""The commands that work without a running daemon: run, check, recover, hook, demo."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from autovpn.cli.commands import (
    Teaching,
    config_option,
    json_option,
    run_option,
    say,
    show,
    state_option,
    unread_config_option,
)
from autovpn.cli.hook import main as hook_main
from autovpn.cli.render import render_check
from autovpn.cli.safe import clean


@click.command(cls=Teaching)
@config_option
@run_option
@state_option
def run(config_directory: Path, run_directory: str, state_directory: Path) -> int:
    """Be the daemon, in the foreground.

    It tells systemd when it is ready and that it is alive, where systemd started it. SIGTERM and SIGINT: undo
    everything and end. SIGHUP: read the configuration again. SIGUSR2: leave everything in place and end.
    """
    from autovpn import wiring

    return wiring.run_daemon(wiring.Directories(config_directory, Path(run_directory), state_directory))


@click.command(cls=Teaching)
@config_option
@json_option
def check(config_directory: Path, *, as_json: bool) -> int:
    """Name everything that is wrong with the configuration.

    All problems come at once, each as file:line: key: what is wrong; what was meant.

    Exit status: 0 no problem, 1 problems, 2 wrong usage.

    Examples:
      autovpn check
      autovpn check --config ./etc --json
    """
    from autovpn import wiring

    loaded = wiring.load_configuration(config_directory)
    report: dict[str, Any] = {
        "ok": not loaded.problems,
        "directory": str(config_directory),
        "usable": loaded.policy is not None,
        "problems": list(loaded.problems),
        "notes": list(loaded.notes),
        "profiles": [profile.name for profile in loaded.policy.profiles] if loaded.policy else [],
    }
    show(report, render_check, as_json=as_json)
    return 1 if loaded.problems else 0


@click.command(cls=Teaching)
@unread_config_option
@run_option
@state_option
@json_option
def recover(config_directory: Path, run_directory: str, state_directory: Path, *, as_json: bool) -> int:
    """Undo all that a daemon which died has left behind.

    It refuses while a daemon runs, which undoes such things itself. Calling it when nothing is left is fine. The
    configuration is not read.

    Exit status: 0 nothing is left, 1 something is, or a daemon runs, 2 wrong usage.
    """
    from autovpn import wiring

    recovery = wiring.recover(wiring.Directories(config_directory, Path(run_directory), state_directory))
    undone = f"undone: {'; '.join(recovery.undone)}" if recovery.undone else "nothing was left to undo"
    for words in () if as_json else recovery.found:
        click.echo(f"found: {clean(words)}")
    report = {
        "message": undone,
        "found": list(recovery.found),
        "undone": list(recovery.undone),
        "problems": list(recovery.left),
    }
    return say(report, as_json=as_json)


@click.command(
    cls=Teaching,
    context_settings={"ignore_unknown_options": True},
    options_metavar="EVENT IFACE [--wait TIME] [--strict] [--run-dir DIR]",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="")
def hook(arguments: tuple[str, ...]) -> int:
    """Tell the daemon what a network manager is doing to an interface.

      preup      IFACE is about to come up: forget that it was leaving
      postup     IFACE is up: wait until its profile is up, or standing by, or
                 has failed once, or until nothing is wanted there
      predown    IFACE is about to go: undo what rides on it, and wait for that
      postdown, failup, faildown, roam, portal
                 look again, without waiting

      --wait TIME     how long postup and predown wait  [default: 30s; 0s: not at all]
      --strict        exit with 1 when it failed; without it a failure is only a warning,
                      since netifrc lets a predown that fails block the teardown
      --run-dir DIR   where the daemon's control socket is  [default: /run/autovpn]

    Exit status: 0 fine, or nothing to do, or no daemon is running (a warning);
    1 it failed (with --strict only); 2 wrong usage.

    In /etc/conf.d/net:
      postup()  { autovpn hook postup  "${IFACE}"; }
      predown() { autovpn hook predown "${IFACE}"; }
    """
    return hook_main(list(arguments))


@click.command(cls=Teaching)
@json_option
def demo(*, as_json: bool) -> int:
    """Show the real daemon at work in network namespaces.

    This machine is not touched. It needs root. The exit status says whether every claim held.
    """
    return int(import_module("autovpn.demo").main(as_json=as_json))


COMMANDS = (run, check, recover, hook, demo)
