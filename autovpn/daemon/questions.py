"""What only a person can say: passwords and codes, asked of whoever waits at a terminal, and kept in memory alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

from autovpn.core.actions import AskPerson
from autovpn.core.secret import Secret
from autovpn.errors import ControlError

ANSWERING = 120.0
"""Seconds that a person has for an answer."""

NEEDS_PERSON = "it needs a person: run 'autovpn up {profile}' at a terminal, which asks"


@dataclass(frozen=True, slots=True)
class Question:
    """One question, as it is put to the person; `number` is what the answer has to name."""

    number: int
    tunnel: str
    prompt: str
    hidden: bool = True


class Questions:
    """The open questions of tunnels, who may answer them, and the passwords that were answered.

    Only a tunnel that somebody attends is asked about: every other gets None at once, and says that it needs a person.
    """

    def __init__(self) -> None:
        """Begin with nobody attending, and no password known."""
        self._numbers = count(1)
        self._attended: dict[str, float] = {}
        self._open: dict[int, tuple[Question, asyncio.Future[Secret]]] = {}
        self._passwords_wanted: dict[int, str] = {}
        self._passwords: dict[str, Secret] = {}
        self._asked: Callable[[], None] = lambda: None

    def connect(self, asked: Callable[[], None]) -> None:
        """Say who is to be told that there is a new question."""
        self._asked = asked

    def attend(self, tunnels: Iterable[str]) -> None:
        """Let questions of these tunnels be asked for a while: somebody is there."""
        until = asyncio.get_running_loop().time() + ANSWERING
        self._attended.update(dict.fromkeys(tunnels, until))

    def leave(self, tunnels: Iterable[str]) -> None:
        """Let no more questions of these tunnels be asked."""
        for tunnel in tunnels:
            self._attended.pop(tunnel, None)

    async def ask(self, tunnel: str, question: AskPerson) -> Secret | None:
        """Return a person's answer; None where nobody attends the tunnel, or nobody answers in time."""
        now = asyncio.get_running_loop().time()
        if self._attended.get(tunnel, now) <= now:
            return None
        number = next(self._numbers)
        answer: asyncio.Future[Secret] = asyncio.get_running_loop().create_future()
        self._open[number] = (Question(number, tunnel, question.prompt, question.hidden), answer)
        self._asked()
        try:
            async with asyncio.timeout(ANSWERING):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._open[number]

    def pending(self, tunnels: Iterable[str]) -> Question | None:
        """Return the oldest question of these tunnels that is open."""
        among = frozenset(tunnels)
        asked = (question for question, answer in self._open.values() if not answer.done())
        return next((question for question in asked if question.tunnel in among), None)

    def answer(self, number: int, text: str) -> bool:
        """Take an answer; report whether it was a password for a start that is yet to come.

        Raises:
            ControlError: nobody waits for it any more.
        """
        content = Secret(text.encode())
        if tunnel := self._passwords_wanted.pop(number, None):
            self._passwords[tunnel] = content
            return True
        if number not in self._open or self._open[number][1].done():
            raise ControlError("the answer comes too late: the tunnel has given up waiting; try 'autovpn up' again")
        self._open[number][1].set_result(content)
        return False

    def want_password(self, tunnel: str) -> Question:
        """Return the question for a password that a tunnel's next start needs."""
        number = next(self._numbers)
        self._passwords_wanted = {number: tunnel}  # one person at a time, who may begin anew
        return Question(number, tunnel, f"Password of the tunnel {tunnel}")

    def password(self, tunnel: str) -> Secret | None:
        """Return the password that was answered for a tunnel."""
        return self._passwords.get(tunnel)

    def forget(self, tunnel: str) -> None:
        """Forget a password that was refused."""
        self._passwords.pop(tunnel, None)
