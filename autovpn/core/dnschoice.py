"""Which DNS the machine as a whole wants, and which back end is to bring it about; both with their reasons.

Pure: wishes and facts in, values out. A further back end is one more `Candidate` in `dnscandidates` and one more file
in `dns/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from autovpn.core.dnsclean import clean_domains, clean_search, clean_servers, whole_file_fault
from autovpn.core.dnsfacts import DnsFacts


@dataclass(frozen=True, slots=True)
class DnsWish:
    """What one activation wants of DNS.

    `owner` is the activation's name, `device` its tunnel's. No `domains` means all names: the wish is exclusive.
    `whole_file` is the text of a resolv.conf to be swapped in as it is.
    """

    owner: str
    device: str | None
    servers: tuple[str, ...]
    search: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    whole_file: str | None = None


@dataclass(frozen=True, slots=True)
class MachineDns:
    """What the machine wants: at most one wish for all names, any number for some; and why others were left out."""

    exclusive: DnsWish | None = None
    split: tuple[DnsWish, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def is_wanted(self) -> bool:
        """Tell whether there is anything to apply."""
        return self.exclusive is not None or bool(self.split)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A candidate's opinion of itself; `why` is for people."""

    usable: bool
    why: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A back end that may be chosen; `judge` says whether it can do this here.

    `setting` is the value of `dns.backend` that asks for it, where that is not its name.
    """

    name: str
    judge: Callable[[DnsFacts, MachineDns], Verdict]
    setting: str = ""

    def is_meant_by(self, forced: str) -> bool:
        """Tell whether `dns.backend = forced` asks for this one."""
        return forced == (self.setting or self.name)


@dataclass(frozen=True, slots=True)
class Choice:
    """The back end that is to be used, and the trail that led to it.

    Without a `backend` either nothing is wished, or, where `refused`, what is wished cannot be had.
    """

    backend: str | None
    why: tuple[str, ...]
    refused: bool = False


def merge(wishes: Iterable[DnsWish]) -> MachineDns:
    """Merge the wishes of all activations, given in order of precedence.

    The first that wants all names gets them, a second is told so rather than fought
    (eduvpn/python-eduvpn-client#596). A wish that names no usable server changes nothing. Server lists are checked
    for form here; `clean_servers(pushed=True)` is for who takes them from outside.
    """
    exclusive: DnsWish | None = None
    split: list[DnsWish] = []
    refused: list[str] = []
    for raw in wishes:
        wish, reasons = _clean(raw)
        refused += [f"{raw.owner}: {reason}" for reason in reasons]
        if wish is None:
            continue
        if wish.domains:
            split.append(wish)
        elif exclusive is None:
            exclusive = wish
        else:
            refused.append(f"{wish.owner}: wants all names, which {exclusive.owner} already has; its DNS is not used")
    return MachineDns(exclusive, tuple(split), tuple(refused))


def choose(facts: DnsFacts, wish: MachineDns, forced: str | None, candidates: tuple[Candidate, ...]) -> Choice:
    """Choose the back end: the one that is `forced` (None or "auto": none is), else the first that is usable.

    What is forced and cannot work is refused; there is no silent fall-back.
    """
    if not wish.is_wanted:
        return Choice(None, ("no tunnel asks for DNS",))
    trail: tuple[str, ...] = ()
    if forced is not None and forced != "auto":
        candidates = tuple(candidate for candidate in candidates if candidate.is_meant_by(forced))
        trail = (f"dns.backend = {forced}",)
        if not candidates:
            return Choice(None, (*trail, f"this version has no back end named {forced}"), refused=True)
    for candidate in candidates:
        verdict = candidate.judge(facts, wish)
        trail = (*trail, f"{candidate.name}: {verdict.why}")
        if verdict.usable:
            return Choice(candidate.name, trail)
    return Choice(None, trail, refused=True)


def refuse_split(wish: DnsWish, where: str = "in resolv.conf") -> str:
    """Return the sentence for a split wish on a back end that knows all names or none; widening it would be a lie."""
    return (
        f"{wish.owner}: DNS for {', '.join(wish.domains)} alone is not possible {where}; "
        "take 'domains' out of the profile to send all names there"
    )


def _clean(raw: DnsWish) -> tuple[DnsWish | None, tuple[str, ...]]:
    """Return the wish with only what is well-formed, or None where nothing usable is left; and why."""
    if raw.whole_file is not None:
        fault = whole_file_fault(raw.whole_file)
        return (None, (f"the file to be swapped in is not used: {fault}",)) if fault else (raw, ())
    servers, bad_servers = clean_servers(raw.servers, pushed=False)
    search, bad_search = clean_search(raw.search)
    domains, bad_domains = clean_domains(raw.domains)
    reasons = (*bad_servers, *bad_search, *bad_domains)
    if not servers:
        return None, (*reasons, "no usable DNS server; the machine's DNS stays as it is")
    if raw.domains and not domains:  # without this, a list of rubbish would widen the wish to all names
        return None, (*reasons, "no usable domain; the machine's DNS stays as it is")
    return replace(raw, servers=servers, search=search, domains=domains), reasons
