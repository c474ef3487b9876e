"""What OpenVPN is told when it asks: names, passwords, one-time codes; from the profile where it has them, else asked.

A person is asked for one thing after the other. Nothing that was answered is kept longer than the attempt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from autovpn.core.actions import Action, AskPerson, Send
from autovpn.core.driving import Launch
from autovpn.core.openvpnfile import KEY
from autovpn.core.secret import Secret
from autovpn.core.settings import OpenvpnSettings
from autovpn.tunnels import openvpn_management as management
from autovpn.tunnels import pushed
from autovpn.tunnels.attempt import server_asks
from autovpn.tunnels.openvpn_management import Challenge, Need

CHANNEL = "management"
USERNAME, PASSWORD, CODE = "username", "password", "code"

AUTH, PRIVATE_KEY = "Auth", "Private Key"
"""How OpenVPN calls the user's name and password, and the password of the key."""


class CannotBeTold(Exception):
    """A name or password that OpenVPN's management does not take; the text says why."""


@dataclass(frozen=True, slots=True)
class Login:
    """What OpenVPN waits for, and what is known of it; `asking` names the question that a person has not answered yet.

    `challenge` is to be answered, with the next user's password where it is static or dynamic.
    """

    need: Need | None = None
    challenge: Challenge | None = None
    asking: str = ""
    answers: Mapping[str, Secret] = field(default_factory=dict)

    def asked(self, need: Need) -> Login:
        """Return the login once OpenVPN wants to know something."""
        return replace(self, need=need, challenge=need.challenge or self.challenge)

    def challenged(self, challenge: Challenge) -> Login:
        """Return the login once the server has a question."""
        return replace(self, challenge=challenge, answers=_without_code(self.answers))

    def answered(self, name: str, answer: Secret) -> Login:
        """Return the login once a person has said something."""
        return replace(self, asking="", answers={**self.answers, name: _one_line(answer)})


def go_on(login: Login, launch: Launch) -> tuple[Login, tuple[Action, ...]]:
    """Return what to do next: ask a person for what is not known yet, or tell OpenVPN.

    Raises:
        CannotBeTold: OpenVPN's management does not take what is known.
    """
    if question := next(_questions(login, launch), None):
        return replace(login, asking=question.name), (question,)
    known = _without_code(login.answers)
    if login.challenge and login.challenge.protocol == "pending":
        return replace(login, challenge=None, answers=known), _respond(_code(login))
    if login.need is None:
        return login, ()
    return Login(answers=known), tuple(_commands(login.need, login, launch))


def is_repeated(launch: Launch, need: Need) -> bool:
    """Report whether OpenVPN asks a daemon that has read no secrets, since it took the tunnel over."""
    if need.kind == AUTH:
        return launch.password is None and launch.spec.password is not None
    return KEY not in launch.secrets and KEY in dict(launch.spec.secrets)


def _questions(login: Login, launch: Launch) -> Iterator[AskPerson]:
    """Yield what is not known yet."""
    of = f"tunnel {launch.spec.name}"
    need, challenge = login.need, login.challenge
    dynamic = challenge is not None and challenge.protocol == "dynamic"
    if need and need.wants_username and not dynamic and _username(login, launch) is None:
        yield AskPerson(USERNAME, f"User name for the {of}", hidden=False)
    if need and not (dynamic and need.kind == AUTH) and _password(need, login, launch) is None:
        what = "Password of the private key" if need.kind == PRIVATE_KEY else "Password"
        yield AskPerson(_name_of(need), f"{what} for the {of}")
    if challenge and challenge.wants_answer and CODE not in login.answers:
        yield AskPerson(CODE, server_asks(launch, pushed.banner(challenge.text)), challenge.is_hidden)


def _commands(need: Need, login: Login, launch: Launch) -> Iterator[Action]:
    password = (_password(need, login, launch) or Secret(b"")).reveal()
    username = _username(login, launch) or Secret(b"")
    if need.kind == AUTH and (challenge := login.challenge):
        username = challenge.username or username
        password = management.answer_to(challenge, password, _code(login))
    if need.wants_username:
        yield _send("user name", "username", need.kind.encode(), username.reveal())
    yield _send("password", "password", need.kind.encode(), password)


def _respond(code: bytes) -> tuple[Action, ...]:
    # At its usual verbosity OpenVPN would print the answer.
    return (
        Send(CHANNEL, management.command("verb", "2")),
        _send("answer", "cr-response", management.encoded(code)),
        Send(CHANNEL, management.command("verb", "3")),
    )


def _send(what: str, *words: str | bytes) -> Send:
    for word in words[1:]:
        if fault := management.fault(word if isinstance(word, bytes) else word.encode()):
            raise CannotBeTold(f"the {what} can't be given to OpenVPN: {fault}")
    return Send(CHANNEL, management.command(*words))


def _username(login: Login, launch: Launch) -> Secret | None:
    settings = launch.spec.settings
    configured = settings.username if isinstance(settings, OpenvpnSettings) else None
    return Secret(configured.encode()) if configured else login.answers.get(USERNAME)


def _password(need: Need, login: Login, launch: Launch) -> Secret | None:
    known = launch.password if need.kind == AUTH else launch.secrets.get(KEY) if need.kind == PRIVATE_KEY else None
    return _one_line(known) if known else login.answers.get(_name_of(need))


def _name_of(need: Need) -> str:
    return {AUTH: PASSWORD, PRIVATE_KEY: KEY}.get(need.kind, pushed.shown(need.kind))


def _one_line(secret: Secret) -> Secret:
    return Secret(secret.reveal().removesuffix(b"\n").removesuffix(b"\r"))


def _code(login: Login) -> bytes:
    return login.answers.get(CODE, Secret(b"")).reveal()


def _without_code(answers: Mapping[str, Secret]) -> Mapping[str, Secret]:
    return {name: answer for name, answer in answers.items() if name != CODE}
