"""From the models to the core's values."""

from __future__ import annotations

from collections.abc import Mapping

from autovpn.config.context import Context
from autovpn.config.hooks import listed_hooks
from autovpn.config.model import ConditionsTable, MainFile, MatchTable, ProfileDnsTable, ProfileFile
from autovpn.core.network import Grade, Security
from autovpn.core.profile import Action, Condition, DnsSettings, Hook, Key, Policy, Profile, Wanted
from autovpn.core.snapshot import LinkType
from autovpn.core.tunnel import TunnelSpec

_KEYS = {key.value: key for key in Key}
_GRADES = {grade.word: grade for grade in Grade}


def policy(main: MainFile, profiles: tuple[Profile, ...]) -> Policy:
    """Return the whole configuration; the default profile comes last, wherever its file sorts."""
    daemon = main.daemon
    return Policy(
        profiles=tuple(sorted(profiles, key=lambda profile: profile.is_default)),
        settle_trusted=daemon.settle_trusted,
        linger=daemon.linger,
        decide_timeout=daemon.decide_timeout,
        include=frozenset(daemon.uplinks.include),
        exclude=frozenset(daemon.uplinks.exclude),
        dns_backend=main.dns.backend,
        dns_on_conflict=main.dns.on_conflict,
    )


def profile(
    name: str,
    file: ProfileFile,
    context: Context,
    tunnels: Mapping[str, TunnelSpec],
    timeout: float,
    shared_hooks: tuple[Hook, ...] = (),
) -> Profile:
    """Return one profile. `tunnels` are those of all files; hooks that lie in folders run after the profile's own."""
    action = Action(file.action)
    own = listed_hooks(file.hooks, context, timeout)
    return Profile(
        name=name,
        source=str(context.document.path),
        action=action,
        conditions=conditions(file.match) + conditions(file.match.not_, negated=True) if file.match else (),
        is_default=file.default,
        require=_GRADES[file.trust.require],
        tunnels=tuple(tunnels[tunnel] for tunnel in file.tunnels if tunnel in tunnels),
        dns=dns(file.dns, context),
        hooks=own if action is Action.IGNORE else own + shared_hooks,
    )


def conditions(table: ConditionsTable | None, *, negated: bool = False) -> tuple[Condition, ...]:
    """Return the conditions of `[match]` or of `[match.not]`, in the order of `Key`."""
    if table is None:
        return ()
    listed = [key for name, key in _KEYS.items() if name in table.model_fields_set]
    return tuple(Condition(key, _wanted(key, getattr(table, key.value)), negated) for key in listed)


def matches_something(table: MatchTable) -> bool:
    """Report whether `[match]` holds any condition at all."""
    return bool(table.model_fields_set - {"not_"} or (table.not_ and table.not_.model_fields_set))


def _wanted(key: Key, values: list[object]) -> tuple[Wanted, ...]:
    if key is Key.INTERFACE_TYPE:
        return tuple(LinkType) if "any" in values else tuple(LinkType(value) for value in values)
    if key is Key.SECURITY:
        return tuple(Security(value) for value in values)
    if key is Key.DNS_SERVER:
        return tuple(str(value) for value in values)
    return tuple(values)  # type: ignore[arg-type]  # the model's own parsers made them what the key holds


def dns(table: ProfileDnsTable, context: Context) -> DnsSettings:
    """Return what a profile wants of DNS, with the text of a whole file read now, so that a swap needs no file."""
    path = context.resolve(table.file) if table.file else None
    return DnsSettings(
        servers=None if table.servers is None else tuple(str(server) for server in table.servers),
        search=tuple(table.search),
        domains=tuple(table.domains),
        file=path,
        file_text=context.read(("dns", "file"), path) if path else None,
    )
