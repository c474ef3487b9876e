"""The commands that ask the running daemon: status, explain, plan, up, down, reload, restart."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autovpn.cli.client import NotRunning, ask, complain
from autovpn.cli.commands import Teaching, config_option, json_option, run_option, say, show, state_option
from autovpn.cli.render import render_explain, render_plan
from autovpn.cli.render_status import render_status
from autovpn.cli.safe import clean
from autovpn.cli.times import seconds
from autovpn.errors import JournalError

if TYPE_CHECKING:
    from autovpn.daemon.places import Directories

LONGEST_OVERRIDE = 366 * 86400.0  # seconds
WORK = 120.0
"""Seconds that the daemon has for a command that changes the machine."""


def span_of(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Return the seconds of a time such as 30m or 8h that was given to an option."""
    try:
        return None if text is None else seconds(text, LONGEST_OVERRIDE)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(cls=Teaching)
@run_option
@json_option
def status(run_directory: str, *, as_json: bool) -> None:
    """Show what the daemon is doing on each network, and why.

    Examples:
      autovpn status
      autovpn status --json | jq '.activations[].state'
    """
    show(ask(run_directory, "status", {}), render_status, as_json=as_json)


@click.command(cls=Teaching)
@click.argument("uplink", required=False)
@config_option
@run_option
@json_option
def explain(uplink: str | None, config_directory: Path, run_directory: str, *, as_json: bool) -> None:
    """Show why each profile does or does not match.

    For every profile in its order: what it wants, what is observed, the verdict, and what would have to change for
    it to win. Without a daemon the machine is looked at once, and nothing is changed.

    Examples:
      autovpn explain            every uplink
      autovpn explain wlan0      this one
    """
    arguments: dict[str, object] = {"uplink": uplink} if uplink else {}
    try:
        report = ask(run_directory, "explain", arguments)
    except NotRunning:
        report = _explain_alone(config_directory, run_directory, uplink)
    show(report, render_explain, as_json=as_json)


def _explain_alone(config_directory: Path, run_directory: str, uplink: str | None) -> dict[str, object]:
    from autovpn import wiring
    from autovpn.daemon.report_explain import explain as explained

    complain("the daemon isn't running; this is what one look at the machine says")
    seen = wiring.observe_once(wiring.Directories(config=config_directory, run=Path(run_directory)))
    return explained(seen.decision, seen.snapshot, seen.policy, seen.dns, uplink)


@click.command(cls=Teaching)
@config_option
@run_option
@state_option
@json_option
def plan(config_directory: Path, run_directory: str, state_directory: Path, *, as_json: bool) -> None:
    """Show every change that would be made now, and make none.

    Without a daemon the machine is looked at once, and the plan is what a daemon would begin with on a machine that
    has nothing of autovpn's on it; what a daemon that is gone has left there is told besides.

    Examples:
      autovpn plan
      autovpn plan --json | jq -r '.changes[].what'
    """
    try:
        report = ask(run_directory, "plan", {})
    except NotRunning:
        report = _plan_alone(config_directory, Path(run_directory), state_directory)
    show(report, render_plan, as_json=as_json)


def _plan_alone(config: Path, run: Path, state: Path) -> dict[str, object]:
    from autovpn import wiring
    from autovpn.core.diff import diff
    from autovpn.core.wanted import steps_for
    from autovpn.daemon.report_plan import plan as planned

    complain("the daemon isn't running; this is what it would begin with")
    directories = wiring.Directories(config, run, state)
    seen = wiring.observe_once(directories)
    report = planned(diff((), steps_for(seen.decision, seen.snapshot, seen.policy)))
    return {**report, "left_behind": _left_behind(directories)}


def _left_behind(directories: Directories) -> list[str]:
    from autovpn import wiring

    try:
        return list(wiring.left_behind(directories))
    except JournalError as error:
        complain(f"whether a daemon that is gone has left something is not known: {error}")
        return []


@click.command(cls=Teaching)
@click.argument("profile")
@click.option("--on", "uplink", metavar="UPLINK", help="The uplink to use.  [default: the one that governs]")
@click.option("--tunnel", metavar="NAME", help="Use this tunnel of the profile, whatever comes first.")
@click.option("--for", "span", callback=span_of, metavar="TIME", help="End after this time (30m, 8h).")
@run_option
@json_option
def up(
    profile: str, uplink: str | None, tunnel: str | None, span: float | None, run_directory: str, *, as_json: bool
) -> int:
    """Bring a profile up by hand, whatever its conditions say.

    It holds until the network changes, or for the time that is given; 'autovpn down' ends it. At a terminal you are
    asked for what the tunnel needs to know and no file says: a password, a one-time code.

    Examples:
      autovpn up campus
      autovpn up campus --on wlan0 --tunnel home-ssh --for 8h
    """
    wish: dict[str, object] = {"profile": profile, "uplink": uplink, "tunnel": tunnel, "seconds": span}
    attended = not as_json and sys.stdin.isatty() and "AUTOVPN_EVENT" not in os.environ
    wish = _sent({**wish, "attended": attended or None})
    reply = ask(run_directory, "up", wish, WORK)
    while isinstance(reply.get("question"), dict):
        reply = ask(run_directory, "answer", {"profile": profile, **_answer_to(reply)}, WORK)
        if reply.get("again"):
            reply = ask(run_directory, "up", wish, WORK)
    return say(reply, as_json=as_json)


def _answer_to(reply: dict[str, Any]) -> dict[str, object]:
    """Put a question to the person at the terminal; its words may come from the far end of a tunnel."""
    question = reply["question"]
    text = click.prompt(
        clean(str(question["prompt"])), default="", show_default=False, hide_input=bool(question["hidden"]), err=True
    )
    return {"number": question["number"], "answer": text, "interface": reply["interface"]}


@click.command(cls=Teaching)
@click.argument("profile", required=False)
@run_option
@json_option
def down(profile: str | None, run_directory: str, *, as_json: bool) -> int:
    """Take a profile, or everything, down by hand.

    It holds until the network changes.

    Examples:
      autovpn down campus
      autovpn down
    """
    return say(ask(run_directory, "down", _sent({"profile": profile}), WORK), as_json=as_json)


@click.command(cls=Teaching)
@run_option
@json_option
def reload(run_directory: str, *, as_json: bool) -> int:
    """Read the configuration again and change only what differs.

    With a problem in it the running configuration is kept, and the problems are named.
    """
    return say(ask(run_directory, "reload", {}, WORK), as_json=as_json)


@click.command(cls=Teaching)
@run_option
@json_option
def restart(run_directory: str, *, as_json: bool) -> int:
    """End the daemon, but leave everything in place for the next.

    The next one takes over and not one packet is lost. What starts daemons here (systemd, OpenRC) starts the next one.
    """
    return say(ask(run_directory, "restart", {}, WORK), as_json=as_json)


def _sent(wish: dict[str, object]) -> dict[str, object]:
    """Leave out what was not given, and tell the daemon when a hook of its own is asking: it must not wait then."""
    given = {name: value for name, value in wish.items() if value is not None}
    return {**given, "from_hook": "AUTOVPN_EVENT" in os.environ}


COMMANDS = (status, explain, plan, up, down, reload, restart)
