"""The exceptions, from the most general to the most special.

    AutovpnError            anything that a user may be told in one sentence
    ├── ConfigError         the configuration is wrong; carries every problem at once
    ├── Refused             we decline to touch something, and say what would help
    ├── StepFailed          a change to the machine did not succeed
    ├── JournalError        a change could not be recorded, so it was not made
    ├── SystemFault         the kernel, a socket or a program answered with an error
    │   └── Unsupported     the machine lacks what was asked for
    ├── ControlError        the daemon could not be reached, or refused the request
    └── AlreadyRunning      another daemon holds the lock

Expected outcomes are values, not exceptions. An exception is raised with facts and chained with `from`.
"""

from __future__ import annotations


class AutovpnError(Exception):
    """Anything that a user may be told in one sentence."""


class ConfigError(AutovpnError):
    """The configuration is wrong.

    `problems` holds one line each: `file:line: key: what is wrong; what was meant`.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        """Keep every problem, since a user mends them all in one go."""
        super().__init__("\n".join(problems))
        self.problems = problems


class Refused(AutovpnError):
    """We decline to touch `what`, for the reason `why`; `hint` says what would help."""

    def __init__(self, what: str, why: str, hint: str = "") -> None:
        """Put the three facts into one sentence."""
        super().__init__(f"{what}: {why}" + (f"; {hint}" if hint else ""))
        self.what = what
        self.why = why
        self.hint = hint


class StepFailed(AutovpnError):
    """A change to the machine did not succeed."""

    def __init__(self, step: str, why: str) -> None:
        """Name the step as `status` names it."""
        super().__init__(f"{step}: {why}")
        self.step = step
        self.why = why


class JournalError(AutovpnError):
    """A change could not be recorded, so it was not made."""


class SystemFault(AutovpnError):
    """The kernel, a socket or a program answered with an error."""


class Unsupported(SystemFault):
    """The machine lacks what was asked for."""


class ControlError(AutovpnError):
    """The daemon could not be reached, or refused the request."""


class AlreadyRunning(AutovpnError):
    """Another daemon holds the lock; `pid` is its process, when known."""

    def __init__(self, pid: int | None) -> None:
        """Name the first daemon's process."""
        super().__init__(
            "another autovpn daemon is running"
            + (f" (process {pid})" if pid else "")
            + "; stop it first, or ask it with 'autovpn status'"
        )
        self.pid = pid
