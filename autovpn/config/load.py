"""Read the whole configuration and say everything about it in one go."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

import tomli
from pydantic import ValidationError

from autovpn.config import advice, convert
from autovpn.config.context import Context, Environment
from autovpn.config.fields import Table
from autovpn.config.fields import name as valid_name
from autovpn.config.files import Files
from autovpn.config.hooks import folder_hooks
from autovpn.config.model import MainFile, ProfileFile
from autovpn.config.problems import nearest, report_errors
from autovpn.config.programs import Programs
from autovpn.config.report import Document, Report
from autovpn.core.escape import show_text
from autovpn.core.profile import Policy, Profile
from autovpn.core.tunnel import TunnelSpec
from autovpn.errors import Refused

DIRECTORY = Path("/etc/autovpn")

_ORDER = re.compile(r"[0-9]+-")
_File = TypeVar("_File", bound=Table)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the configuration says.

    `policy` is None when a problem leaves open what the user wants: nobody may act on half a configuration. A problem
    that only takes one profile or tunnel out of action (a program that isn't installed, a shadowed profile) leaves it.
    `problems` and `notes` hold one line each: `file:line: key: what is wrong; what was meant`.
    """

    policy: Policy | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def load(directory: Path = DIRECTORY, *, environment: Environment | None = None) -> Loaded:
    """Read `autovpn.toml` and the profiles below a directory. Whatever lies there, this returns; it raises nothing."""
    return _Load(directory.absolute(), environment or Environment()).loaded()


@dataclass(slots=True)
class _ProfileSource:
    """A profile's file that is valid by itself, before it meets the others."""

    name: str
    file: ProfileFile
    context: Context


@dataclass(slots=True)
class _Load:
    root: Path
    environment: Environment
    report: Report = field(default_factory=Report)
    files: Files = field(init=False)
    programs: Programs = field(init=False)
    unread: bool = False  # a file that can't be parsed may hold the tunnel that another one misses
    broken_tunnels: set[str] = field(default_factory=set)  # named in files that are wrong elsewhere

    def __post_init__(self) -> None:
        self.files = Files(self.environment.owner)
        self.programs = Programs(
            self.files,
            cache(self.environment.which),
            self.environment.distribution,
            self.environment.printed_version,
        )

    def loaded(self) -> Loaded:
        if not self.root.exists():
            self.report.note(show_text(str(self.root)), "does not exist, so there is nothing to do on any network")
            return Loaded(Policy(), (), tuple(self.report.notes))
        main = self._main()
        sources = [source for path in self._profile_paths() if (source := self._source(path)) is not None]
        self._check_names(sources)
        tunnels = self._tunnels(sources)
        timeout = main.daemon.hook_timeout
        shared_hooks = folder_hooks(self.root, self._context(Document(self.root / "hooks", "", {})), timeout)
        profiles = tuple(
            convert.profile(source.name, source.file, source.context, tunnels, timeout, shared_hooks)
            for source in sources
        )
        policy = convert.policy(main, profiles)
        self._advise(sources, policy.profiles)
        report = self.report
        return Loaded(None if report.refused else policy, (*report.refused, *report.warnings), tuple(report.notes))

    # --- files -------------------------------------------------------------------------------------------------------

    def _main(self) -> MainFile:
        path = self.root / "autovpn.toml"
        if not os.path.lexists(path):
            return MainFile()
        document = self._document(path)
        main = self._validated(document, MainFile) if document else None
        if document is None or main is None:
            return MainFile()
        return main

    def _profile_paths(self) -> Iterator[Path]:
        folder = self.root / "profiles"
        try:
            names = os.listdir(folder)  # noqa: PTH208  # bytes decide the order, not Path's rules
        except FileNotFoundError:
            names = []
        except OSError as error:
            self.report.refuse(show_text(str(folder)), f"can't be listed: {error.strerror}")
            return
        found = sorted((name for name in names if name.endswith(".toml") and name[0] != "."), key=os.fsencode)
        if not found:
            self.report.note(show_text(str(folder)), "holds no profile (*.toml), so no network matches")
        yield from (folder / name for name in found)

    def _source(self, path: Path) -> _ProfileSource | None:
        name = _ORDER.sub("", path.stem, count=1)
        try:
            valid_name(name)
        except ValueError as error:
            self.report.refuse(show_text(str(path)), str(error), "rename the file")
        document = self._document(path)
        if document is None:
            self.unread = True
            return None
        file = self._validated(document, ProfileFile)
        if file is None:
            tunnels = document.data.get("tunnel")
            self.broken_tunnels.update(tunnels if isinstance(tunnels, dict) else ())
            return None
        return _ProfileSource(name, file, self._context(document))

    def _document(self, path: Path) -> Document | None:
        place = show_text(str(path))
        try:
            text = self.files.read(path)
            data = tomli.loads(text)
        except Refused as refused:
            self.report.refuse(place, show_text(refused.why), refused.hint)
        except tomli.TOMLDecodeError as error:
            self.report.refuse(f"{place}:{error.lineno}", f"is not TOML: {show_text(error.msg)} (column {error.colno})")
        except (RecursionError, ValueError):
            # Arrays nested a thousand deep and numbers of a thousand digits end in Python's own limits.
            self.report.refuse(place, "is not TOML that anyone wrote: it is nested too deeply or a number is too long")
        else:
            if path.is_symlink():
                self.report.note(place, f"is a symbolic link to {show_text(os.path.realpath(path))}, which was read")
            return Document(path, text, data)
        return None

    def _validated(self, document: Document, model: type[_File]) -> _File | None:
        try:
            return model.model_validate(document.data)
        except ValidationError as error:
            report_errors(error, model, document, self.report)
            return None

    def _context(self, document: Document) -> Context:
        folders = (self.root / "profiles", self.root)
        return Context(document, folders, self.files, self.programs, self.report, self.environment)

    # --- what only shows when all files are seen together -----------------------------------------------------------

    def _check_names(self, sources: list[_ProfileSource]) -> None:
        seen: dict[str, str] = {}
        default: str | None = None
        for source in sources:
            place = source.context.document.path.name
            if source.name in seen:
                what = f"the profile's name '{source.name}' is that of {seen[source.name]} too"
                source.context.refuse((), what, "rename one of the files")
            seen.setdefault(source.name, place)
            _check_whole(source)
            if source.file.default and default:
                source.context.refuse(("default",), f"{default} is the default already", "only one profile can be")
            if source.file.default:
                default = default or place

    def _tunnels(self, sources: list[_ProfileSource]) -> dict[str, TunnelSpec]:
        """Return the tunnels of all files by their names, after having checked who names them."""
        specs: dict[str, TunnelSpec] = {}
        homes: dict[str, _ProfileSource] = {}
        devices: dict[str, str] = {}
        for source in sources:
            for name, table in source.file.tunnel.items():
                key = ("tunnel", name)
                if name in homes:
                    there = homes[name].context.document.path.name
                    source.context.refuse(
                        key, f"a tunnel of this name is in {there} too", "tunnels are named across all files"
                    )
                    continue
                homes[name] = source
                spec = table.spec(name, table.type, source.context)
                if spec is None:
                    continue
                specs[name] = spec
                if spec.device and (other := devices.setdefault(spec.device, name)) != name:
                    what = f"uses the device '{spec.device}', which the tunnel '{other}' uses too"
                    source.context.refuse(key, what, "give one of them another 'device'")
        self._check_uses(sources, homes)
        return specs

    def _check_uses(self, sources: list[_ProfileSource], homes: dict[str, _ProfileSource]) -> None:
        used = {name for source in sources for name in source.file.tunnels}
        for source in sources:
            for number, name in enumerate(source.file.tunnels):
                if name not in homes and name not in self.broken_tunnels and not self.unread:
                    meant = nearest(name, homes) if homes else f"write a table [tunnel.{name}]"
                    source.context.refuse(("tunnels", number), f"there is no tunnel '{name}'", meant)
        for name, source in homes.items():
            if name not in used:
                source.context.note(("tunnel", name), "no profile names this tunnel", f'add tunnels = ["{name}"]')

    def _advise(self, sources: list[_ProfileSource], profiles: tuple[Profile, ...]) -> None:
        contexts = {source.name: source.context for source in sources}
        wanted = {source.name: len(source.file.tunnels) for source in sources}
        for profile in profiles:
            if len(profile.tunnels) == wanted[profile.name]:  # else its tunnels are the trouble, and told already
                advice.advise_on_trust(profile, contexts[profile.name])
                advice.advise_on_dns(profile, contexts[profile.name])
            advice.advise_on_conditions(profile, contexts[profile.name])
        advice.advise_on_shadows(profiles, contexts)
        advice.advise_on_look_alikes(profiles, contexts)


def _check_whole(source: _ProfileSource) -> None:
    """Check what no single key shows: keys that contradict each other."""
    file, context = source.file, source.context
    if len(set(file.tunnels)) != len(file.tunnels):
        context.refuse(("tunnels",), "names a tunnel twice", "each is tried once, in order")
    if file.default and file.match:
        context.refuse(("match",), "the default profile takes every network that is left", "drop [match], or 'default'")
    if not file.default and not (file.match and convert.matches_something(file.match)):
        context.refuse((), "has no condition, so it would match every network", "add a [match], or default = true")
    if file.action != "connect" and file.tunnels:
        context.refuse(("tunnels",), f"the action '{file.action}' starts no tunnel", 'use action = "connect"')
    if file.action == "ignore" and file.hooks:
        context.warn(
            ("hooks",), "the action 'ignore' runs no hooks", 'use action = "disconnect" for a network without a VPN'
        )
    if file.dns.file and (file.dns.servers is not None or file.dns.search or file.dns.domains):
        context.refuse(
            ("dns", "file"), "is a whole file, so 'servers', 'search' and 'domains' have no place", "keep one way"
        )
