"""What only a person can say: who is asked, how long is waited, and where the answers are kept."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from autovpn.core.actions import Action, AskPerson, CreateDevice, Failed
from autovpn.core.driving import Answered, DriverEvent
from autovpn.core.profile import Key
from autovpn.core.settings import SecretRef
from autovpn.core.tunnel import FailureClass, TunnelPhase
from autovpn.daemon.questions import ANSWERING
from autovpn.errors import ControlError
from tests.core.builders import connect, on, policy, ssh, wifi
from tests.daemon import fake_kernel
from tests.daemon.fake_kernel import WRONG_PASSWORD, Daemon, FakeDriver, Story

if TYPE_CHECKING:
    from pathlib import Path

    from autovpn.system.control import Reply

CODE = AskPerson("code", "Code: ", hidden=False)
SECRET = "wonder land"
ASKING = replace(ssh("office"), password=SecretRef(ask=True), connect_timeout=10.0)
RULES = policy(replace(connect("campus", on(Key.SSID, b"Campus")), tunnels=(ASKING,)))
PLAIN = policy(replace(connect("campus", on(Key.SSID, b"Campus")), tunnels=(replace(ASKING, password=None),)))


@dataclass
class CodeDriver(FakeDriver):
    """A driver whose far end asks for a code before it lets anybody in."""

    def feed(self, state: str, event: DriverEvent, now: float) -> tuple[str, tuple[Action, ...]]:
        if isinstance(event, Answered):
            if event.answer is None:
                return state, (Failed(FailureClass.AUTH, "a code is needed"),)
            return state, (CreateDevice("tun", state),)
        return super().feed(state, event, now)


def play(folder: Path, story: Story, rules: object = RULES) -> None:
    fake_kernel.play(folder, story, rules)  # type: ignore[arg-type]


def written_below(folder: Path) -> bytes:
    """Return the content of every file that the daemon has written."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def failed(daemon: Daemon) -> str:
    """Return why the tunnel has failed for good."""
    await daemon.until_phase(TunnelPhase.FAILED)
    failure = daemon.loop.snapshot.tunnels[daemon.first].last_failure
    assert failure
    assert failure.kind is FailureClass.AUTH
    return failure.words


async def answer(daemon: Daemon, question: Reply, text: str) -> Reply:
    asked = question["question"]
    assert isinstance(asked, dict)
    given = {"number": asked["number"], "interface": question["interface"], "answer": text}
    return await daemon.ask("answer", profile="campus", **given)


class TestPasswords:
    def test_without_anybody_there_it_fails_once_and_says_who_is_needed(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi())
            words = await failed(daemon)
            assert words.endswith("it needs a person: run 'autovpn up campus' at a terminal, which asks")
            assert daemon.driver.launches == []
            assert daemon.loop.snapshot.tunnels[daemon.first].attempt == 1
            await daemon.settle()
            assert "tunnel" not in daemon.applied()

        play(tmp_path, story)

    def test_it_is_asked_for_at_the_terminal_and_kept_for_the_next_attempts_in_memory_alone(
        self, tmp_path: Path
    ) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi())
            await failed(daemon)
            question = await daemon.ask("up", profile="campus", attended=True)
            assert question["question"] == {"number": 1, "prompt": "Password of the tunnel office", "hidden": True}
            assert (await answer(daemon, question, SECRET))["again"] is True
            reply = await daemon.ask("up", profile="campus", attended=True)
            assert reply["message"] == "campus is up on wlan2 by office"
            [launch] = daemon.driver.launches
            assert launch.password
            assert launch.password.reveal().decode() == SECRET
            said = json.dumps([await daemon.ask(command) for command in ("status", "explain", "plan")])
            assert SECRET not in said + repr(launch) + repr(daemon.loop.plans.applied())
            assert SECRET.encode() not in written_below(tmp_path)
            daemon.loop.retry("campus")
            await daemon.ask("down", profile="campus")
            await daemon.ask("up", profile="campus")
            assert len(daemon.driver.launches) == 2, "nobody was asked again"

        play(tmp_path, story)

    def test_one_that_was_refused_is_asked_for_again(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi())
            await failed(daemon)
            daemon.driver.answers = [WRONG_PASSWORD]
            await answer(daemon, await daemon.ask("up", profile="campus", attended=True), "wrong")
            reply = await daemon.ask("up", profile="campus", attended=True)
            assert reply["message"] == "campus: tunnel office failed: wrong password"
            assert "question" in await daemon.ask("up", profile="campus", attended=True)

        play(tmp_path, story)


class TestCodes:
    def test_a_question_of_the_far_end_reaches_whoever_waits_and_the_answer_the_tunnel(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.driver = CodeDriver(answers=[(CODE,), (CODE,)])
            await daemon.begin(wifi())
            assert await failed(daemon) == "a code is needed"
            question = await daemon.ask("up", profile="campus", attended=True)
            assert question["question"] == {"number": 1, "prompt": "Code: ", "hidden": False}
            assert question["interface"] == "wlan2"
            await asyncio.sleep(ANSWERING - 1)  # people are slower than `connect_timeout`
            assert daemon.phase() is TunnelPhase.CONNECTING
            reply = await answer(daemon, question, "123456")
            assert reply["message"] == "campus is up on wlan2 by office"
            with pytest.raises(ControlError, match="comes too late"):
                await answer(daemon, question, "123456")

        play(tmp_path, story, PLAIN)

    def test_nobody_answers_for_ever(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.driver = CodeDriver(answers=[(CODE,), (CODE,)])
            await daemon.begin(wifi())
            await failed(daemon)
            question = await daemon.ask("up", profile="campus", attended=True)
            await asyncio.sleep(ANSWERING + 1)
            assert await failed(daemon) == "a code is needed"
            with pytest.raises(ControlError, match="comes too late"):
                await answer(daemon, question, "123456")

        play(tmp_path, story, PLAIN)

    def test_who_has_got_an_outcome_is_asked_no_more(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.driver = CodeDriver()
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            await daemon.ask("up", profile="campus", attended=True)
            assert await daemon.questions.ask("office", CODE) is None

        play(tmp_path, story, PLAIN)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"answer": "x", "profile": "campus"}, "does not say what it answers"),
        ({"answer": "x", "profile": "other", "number": 1}, "does not say what it answers"),
        ({"answer": "x", "profile": "campus", "number": 9}, "comes too late"),
        ({"number": 1, "profile": "campus"}, "the request lacks 'answer'"),
    ],
)
def test_an_answer_to_nothing_is_refused(tmp_path: Path, arguments: dict[str, object], words: str) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.begin(wifi())
        with pytest.raises(ControlError, match=words):
            await daemon.ask("answer", **arguments)

    play(tmp_path, story)
