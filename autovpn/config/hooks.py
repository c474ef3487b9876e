"""Hooks from `[[hooks]]` and from the folders `hooks/EVENT.d`, checked for what would keep them from running."""

from __future__ import annotations

import os
from pathlib import Path

from autovpn.config.context import Context
from autovpn.config.model import HookTable
from autovpn.config.problems import nearest
from autovpn.config.report import quoted
from autovpn.core.escape import show_text
from autovpn.core.profile import Event, Hook, OnFail

_NOT_RUN = "nothing finds captive portals in this version, so it is never run"
_LEFTOVERS = ("~", ".bak", ".orig", ".rej", ".dpkg-old", ".dpkg-new", ".dpkg-dist", ".rpmsave", ".rpmnew")


def listed_hooks(tables: list[HookTable], context: Context, timeout: float) -> tuple[Hook, ...]:
    """Return the hooks of one profile in their order; `timeout` in seconds is for those that name none."""
    return tuple(_listed(number, table, context, timeout) for number, table in enumerate(tables))


def _listed(number: int, table: HookTable, context: Context, timeout: float) -> Hook:
    key = ("hooks", number)
    context.check_program((*key, "run"), table.run[0])
    if table.user is not None and not context.environment.has_user(table.user):
        context.warn((*key, "user"), f"there is no user {quoted(table.user)}", "name an existing one")
    if table.on_fail == "abort" and table.on != "preup":
        context.warn((*key, "on_fail"), f"nothing can be aborted at {table.on}", "only preup can stop a start")
    if table.on == Event.PORTAL.value:
        context.note((*key, "on"), _NOT_RUN)
    return Hook(
        event=Event(table.on),
        run=tuple(table.run),
        timeout=timeout if table.timeout is None else table.timeout,
        user=table.user,
        on_fail=OnFail(table.on_fail),
    )


def folder_hooks(root: Path, context: Context, timeout: float) -> tuple[Hook, ...]:
    """Return the hooks that lie in `hooks/EVENT.d` below `root`, by event and in byte order of their names.

    What can't run is reported and left out, so that a README there stops nothing.
    """
    folder = root / "hooks"
    known = {f"{event.value}.d": event for event in Event}
    for name in _names(folder):
        if name.endswith(".d") and name not in known:
            context.report.warn(show_text(str(folder / name)), "is named for no event", nearest(name, known))
    lying = (
        _lying(folder / name / file, event, context, timeout)
        for name, event in known.items()
        for file in _names(folder / name)
    )
    return tuple(hook for hook in lying if hook is not None)


def _lying(path: Path, event: Event, context: Context, timeout: float) -> Hook | None:
    if path.name.startswith(".") or path.name.endswith(_LEFTOVERS):
        return None
    if problem := context.programs.problem(str(path)):
        what, meant = problem
        context.report.warn(show_text(str(path)), f"is not run: {what}", meant)
        return None
    if event is Event.PORTAL:
        context.report.note(show_text(str(path)), _NOT_RUN)
    return Hook(event=event, run=(str(path),), timeout=timeout)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder), key=os.fsencode)  # noqa: PTH208  # bytes decide the order, not Path's rules
    except OSError:
        return []
