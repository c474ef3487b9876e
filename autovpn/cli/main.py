"""The entry point of the command `autovpn`: it finds out what is asked before it imports anything for it.

Exit status: 0 fine, 1 it failed or problems were found, 2 wrong usage, 3 the daemon isn't running, 130 interrupted,
141 the pipe it wrote to was closed.
"""

from __future__ import annotations

import os
import sys

from autovpn.errors import AutovpnError

FAILED = 1
NOT_RUNNING = 3
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PIPE_CLOSED = 141  # 128 + SIGPIPE
HELP = ("--help", "-h")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status; no traceback reaches a user who hasn't asked for one."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = _run(given)
        sys.stdout.flush()
        return status
    except AutovpnError as error:
        return _explain_failure(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  # whatever it is, a user gets one sentence
        return _explain_bug(error)


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["hook"] and not any(argument in HELP for argument in arguments):
        from autovpn.cli.hook import main as hook

        return hook(arguments[1:])
    from autovpn.cli.commands import run

    return run(arguments)


def _explain_failure(error: AutovpnError) -> int:
    from autovpn.cli.client import NotRunning, complain
    from autovpn.cli.safe import clean

    for line in str(error).splitlines():
        complain(clean(line))
    if "AUTOVPN_DEBUG" in os.environ:
        _show_traceback()
    return NOT_RUNNING if isinstance(error, NotRunning) else FAILED


def _explain_bug(error: Exception) -> int:
    from autovpn.cli.client import complain
    from autovpn.cli.safe import clean

    complain(f"this is a mistake in autovpn itself: {type(error).__name__}: {clean(str(error))}")
    if "AUTOVPN_DEBUG" in os.environ:
        _show_traceback()
    else:
        complain("please report it with what the same command prints when AUTOVPN_DEBUG=1 is set before it")
    return FAILED


def _show_traceback() -> None:
    import traceback

    traceback.print_exc()


def _forget_stdout() -> None:
    """Point stdout at nothing, so that the interpreter does not trip over the closed pipe once more at its end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
