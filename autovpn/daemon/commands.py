"""What the daemon answers on its control socket. Every request has the state read and decided on first."""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from autovpn import __version__
from autovpn.config.context import forwards
from autovpn.core.forwarding import FORWARDING
from autovpn.core.memory import Override
from autovpn.core.profile import Profile
from autovpn.core.snapshot import Link, Phase
from autovpn.daemon.arguments import Arguments
from autovpn.daemon.arrival import Standing, standing_of
from autovpn.daemon.loop import Goal, Loop
from autovpn.daemon.questions import Question, Questions
from autovpn.daemon.report import DnsStanding, StatusExtra, status
from autovpn.daemon.report_explain import explain
from autovpn.daemon.report_plan import plan
from autovpn.daemon.settings import Settings
from autovpn.errors import ControlError
from autovpn.system.control import READING, Reply, Request

BY_HAND = 45.0
"""Seconds that `up` and `down` wait for the outcome before they say that it is still coming."""


class Commands:
    """Answers requests; `settings` reads the configuration, `dns` tells how the machine's resolver stands."""

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        questions: Questions,
        dns: Callable[[], DnsStanding | None],
        journal: tuple[str, ...],
    ) -> None:
        """Answer for a loop."""
        self._loop = loop
        self._settings = settings
        self._questions = questions
        self._dns = dns
        self._journal = journal
        self._started = loop.machine.clock()
        self._answers: Mapping[str, Callable[[Arguments], Awaitable[Reply]]] = {
            "status": self._status,
            "explain": self._explain,
            "plan": self._plan,
            "up": self._up,
            "answer": self._answer,
            "down": self._down,
            "reload": self._reload,
            "restart": self._restart,
            "hook": self._hook,
        }

    async def answer(self, request: Request) -> Reply:
        """Carry a request out and return the reply."""
        answer = self._answers.get(request.command)
        if answer is None:
            raise ControlError(f"{request.command}: this daemon does not know that command; is it an older version?")
        arguments = Arguments(request.arguments)
        # A hook is waited for by whoever would have to look, so it gets its answer without one. And who may only read
        # gets no look of their own, or they could keep the daemon busy.
        if not arguments.flag("from_hook"):
            await self._loop.fresh_look(urgent=request.command not in READING)
        return await answer(arguments)

    async def _status(self, _: Arguments) -> Reply:
        loop = self._loop
        passed_on = frozenset(await asyncio.to_thread(lambda: [*filter(forwards, FORWARDING)]))
        # From here on nothing is awaited: the rest is of one moment.
        extra = StatusExtra(
            now=loop.machine.clock(),
            started=self._started,
            pid=os.getpid(),
            version=__version__,
            dns=self._dns(),
            configuration=self._settings.problems,
            reload_failed=self._settings.reload_failed,
            hooks=tuple(loop.complaints),
            journal=self._journal,
            resyncs={reason: count for reason, count in loop.machine.kernel.counters().items() if count},
            unfinished=loop.plans.unfinished(),
            forwards=passed_on,
            health=loop.healths.view(),
        )
        return {"ok": True, **status(loop.decision, loop.snapshot, loop.policy, loop.plans.applied(), extra)}

    async def _explain(self, arguments: Arguments) -> Reply:
        uplink = arguments.optional_text("uplink")
        loop, dns = self._loop, await self._loop.machine.dns.choice()
        return {"ok": True, **explain(loop.decision, loop.snapshot, loop.policy, dns, uplink)}

    async def _plan(self, _: Arguments) -> Reply:
        return {"ok": True, **plan(self._loop.whole_plan())}

    async def _up(self, arguments: Arguments) -> Reply:
        loop, name = self._loop, arguments.text("profile")
        profile = loop.policy.profile(name)
        if profile is None:
            raise ControlError(f"there is no profile {name!r}{_nearest(name, [p.name for p in loop.policy.profiles])}")
        tunnel = arguments.optional_text("tunnel")
        if tunnel is not None and profile.tunnel(tunnel) is None:
            raise ControlError(
                f"{name} has no tunnel {tunnel!r}{_nearest(tunnel, [spec.name for spec in profile.tunnels])}"
            )
        link = self._uplink(arguments.optional_text("uplink"))
        seconds = arguments.optional_number("seconds")
        attended = arguments.flag("attended")
        if attended and (question := self._unknown_password(profile, tunnel)):
            return _question(question)
        until = None if seconds is None else loop.machine.clock() + seconds
        kept = tuple(o for o in loop.memory.overrides if not o.up and o.profile not in (None, name))
        override = Override(up=True, profile=name, uplink=link.id, network=link.network, tunnel=tunnel, until=until)
        loop.memory = replace(loop.memory, overrides=(*kept, override))
        loop.retry(name)
        if arguments.flag("from_hook"):
            return _said(f"{name} will be brought up on {link.name}")
        if attended:
            self._questions.attend(spec.name for spec in profile.tunnels)
        await loop.fresh_look()
        return await self._wait_attended(profile, link.name) if attended else await self._wait_up(link.name, BY_HAND)

    async def _answer(self, arguments: Arguments) -> Reply:
        """Take what a person answers, and go on waiting for what the question interrupted."""
        number, text = arguments.optional_number("number"), arguments.text("answer")
        profile = self._loop.policy.profile(arguments.text("profile"))
        if number is None or profile is None:
            raise ControlError("the request does not say what it answers")
        if self._questions.answer(int(number), text):
            return {**_said("the password is kept in memory"), "again": True}
        self._questions.attend(spec.name for spec in profile.tunnels)
        return await self._wait_attended(profile, arguments.text("interface"))

    def _unknown_password(self, profile: Profile, tunnel: str | None) -> Question | None:
        """Return the question for the password that the first tunnel to be tried needs and nobody has said yet."""
        spec = profile.tunnel(tunnel) if tunnel else next(iter(profile.tunnels), None)
        if spec is None or not (spec.password and spec.password.ask) or self._questions.password(spec.name):
            return None
        return self._questions.want_password(spec.name)

    async def _wait_attended(self, profile: Profile, interface: str) -> Reply:
        """Wait for the outcome, or for a question that only the person who waits can answer."""
        names = [spec.name for spec in profile.tunnels]

        def settled() -> bool:
            return self._questions.pending(names) is not None or standing_of(self._loop, interface) is not None

        with suppress(TimeoutError):
            async with asyncio.timeout(BY_HAND):
                await self._loop.when(settled)
        if question := self._questions.pending(names):
            return {**_question(question), "interface": interface}
        self._questions.leave(names)
        return await self._wait_up(interface, 0.0)

    async def _down(self, arguments: Arguments) -> Reply:
        loop, name = self._loop, arguments.optional_text("profile")
        known = [profile.name for profile in loop.policy.profiles]
        if name is not None and name not in known:
            raise ControlError(f"there is no profile {name!r}{_nearest(name, known)}")
        rides = [ride for ride in loop.memory.rides if name in (None, ride.profile)]
        if rides:
            place, network = rides[0].uplink, rides[0].network
        else:
            link = self._uplink(None)
            place, network = link.id, link.network
        seconds = arguments.optional_number("seconds")
        until = None if seconds is None else loop.machine.clock() + seconds
        kept = tuple(o for o in loop.memory.overrides if name is not None and o.profile != name)
        override = Override(up=False, profile=name, uplink=place, network=network, until=until)
        loop.memory = replace(loop.memory, overrides=(*kept, override))
        what = name or "everything"
        if arguments.flag("from_hook"):
            return _said(f"{what} will be taken down")
        await loop.fresh_look()
        return await self._wait_down(frozenset(ride.profile for ride in rides), f"{what} is down", BY_HAND)

    async def _reload(self, _: Arguments) -> Reply:
        problems = await self.reload()
        if problems:
            words = "the configuration has problems, so the one that is running stays in force"
            return {"ok": False, "error": words, "message": words, "problems": list(problems)}
        await self._loop.fresh_look()
        count = len(self._loop.policy.profiles)
        return _said(f"the configuration was read anew: {count} profile{'s' if count != 1 else ''}")

    async def reload(self) -> tuple[str, ...]:
        """Read the configuration anew; with a problem in it keep the running one and return the problems."""
        policy = await self._settings.reload()
        if policy is None:
            return self._settings.problems
        self._loop.policy = policy
        self._loop.forget_failures()
        self._loop.wake()
        return ()

    async def _restart(self, _: Arguments) -> Reply:
        problems = await self.reload()
        if problems:
            words = "the configuration has problems, with which the next daemon would not start; this one goes on"
            return {**_failed(words), "problems": list(problems)}
        self._loop.end(Goal.RESTART)
        return _said("the daemon ends and leaves everything in place for the next one")

    async def _hook(self, arguments: Arguments) -> Reply:
        event, interface = arguments.text("event"), arguments.text("interface")
        wait = arguments.optional_number("wait")
        patience = 30.0 if wait is None else wait
        link = self._loop.snapshot.named(interface)
        if event in ("preup", "postup") and link:
            self._mark(link, leaving=False)
        if event == "predown" and link:
            self._mark(link, leaving=True)
        self._loop.wake()
        if arguments.flag("from_hook") or event not in ("postup", "predown"):
            return {"ok": True, "message": f"{event} of {interface} is noted", "problems": [], "exit": 0}
        riding = frozenset(a.profile for a in self._loop.decision.activations if a.uplink_name == interface)
        await self._loop.fresh_look()
        if event == "postup":
            reply = await self._wait_up(interface, patience)
        else:
            reply = await self._wait_down(self._left_on(interface, riding), f"nothing rides on {interface}", patience)
        strict = arguments.flag("strict")
        return {**reply, "ok": True, "exit": int(strict and not reply["ok"])}

    def _mark(self, link: Link, *, leaving: bool) -> None:
        marks = {identity: since for identity, since in self._loop.memory.leaving.items() if identity != link.id}
        if leaving:
            marks[link.id] = self._loop.machine.clock()
        self._loop.memory = replace(self._loop.memory, leaving=marks)

    def _left_on(self, interface: str, before: frozenset[str]) -> frozenset[str]:
        """Return the activations that rode on an interface and did not move to another."""
        moved = {a.profile for a in self._loop.decision.activations if a.uplink_name != interface}
        return before - moved

    def _uplink(self, name: str | None) -> Link:
        """Return the usable uplink of this name, or the governing one."""
        snapshot = self._loop.snapshot
        judged = [snapshot.link(judgement.link) for judgement in self._loop.decision.judgements]
        usable = [link for link in judged if link is not None]
        if name is None and usable:
            return usable[0]
        link = snapshot.named(name or "")
        if name is not None and link is None:
            raise ControlError(f"there is no interface {name!r}{_nearest(name, [link.name for link in usable])}")
        if link is None or link not in usable:
            phase = "" if link is None else f": it is {link.phase.name.lower()}"
            reason = "is no usable uplink" if link and link.phase is Phase.USABLE else f"is not usable now{phase}"
            raise ControlError(
                f"{name} {reason}" if name else "no uplink is usable now, so there is nothing to ride on"
            )
        return link

    async def _wait_up(self, interface: str, patience: float) -> Reply:
        standing = await self._patiently(lambda: standing_of(self._loop, interface), patience)
        if standing is None:
            return _failed(f"{interface}: not settled after {patience:.0f} s; see 'autovpn status'")
        return _said(standing.words) if standing.fine else _failed(standing.words)

    async def _wait_down(self, profiles: frozenset[str], words: str, patience: float) -> Reply:
        def gone() -> Standing | None:
            left = profiles & self._loop.plans.activations()
            stuck = {name for name in left if self._loop.plans.is_stuck(name)}
            if left - stuck:
                return None
            return Standing(not stuck, f"{', '.join(sorted(stuck))} could not be undone whole" if stuck else words)

        standing = await self._patiently(gone, patience)
        if standing is None:
            return _failed(f"still being undone after {patience:.0f} s; see 'autovpn status'")
        return _said(standing.words) if standing.fine else _failed(standing.words)

    async def _patiently(self, look: Callable[[], Standing | None], patience: float) -> Standing | None:
        try:
            async with asyncio.timeout(patience):
                await self._loop.when(lambda: look() is not None)
        except TimeoutError:
            return None
        return look()


def _failed(words: str) -> Reply:
    return {"ok": False, "error": words, "message": words, "problems": [words]}


def _said(words: str) -> Reply:
    return {"ok": True, "message": words, "problems": []}


def _question(question: Question) -> Reply:
    asked = {"number": question.number, "prompt": question.prompt, "hidden": question.hidden}
    return {**_said(question.prompt), "question": asked, "interface": ""}


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there is {', '.join(map(repr, known))}" if known else ""
