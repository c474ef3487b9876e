"""The client's end of the control socket.

`autovpn hook` runs in front of every change of a network, so it must start in little more time than Python itself.
Hence `_socket`, the C half of `socket` (whose Python half costs as much as a third of the interpreter's start), and
hence no import of json before it is needed.
"""

from __future__ import annotations

import _socket
import sys

from autovpn.errors import ControlError

RUN_DIRECTORY = "/run/autovpn"
SOCKET = "control.sock"

PATIENCE = 15.0
"""Seconds that a command which waits for nothing waits for its answer."""

LONGEST_REPLY = 16 << 20  # bytes
CHUNK = 1 << 16


class NotRunning(ControlError):
    """Nobody listens at the control socket."""

    def __init__(self, path: str) -> None:
        """Say how to start the daemon."""
        super().__init__(
            f"the daemon isn't running (nobody answers at {path}); start it with 'systemctl start autovpn', "
            "'rc-service autovpn start' or 'autovpn run'"
        )


class NoAnswer(ControlError):
    """The daemon took the request and gave no answer in time."""


def ask(
    run_directory: str, command: str, arguments: dict[str, object], patience: float = PATIENCE
) -> dict[str, object]:
    """Return the daemon's reply to a command.

    Raises:
        NotRunning: nobody listens.
        ControlError: the daemon can't be asked, does not answer in time, or refuses.
    """
    from json import dumps

    line = dumps({"command": command, "arguments": arguments}).encode() + b"\n"
    return opened(exchange(run_directory, line, patience))


def opened(line: bytes) -> dict[str, object]:
    """Return what a line of reply holds; a command that was carried out and failed is a reply with a message.

    Raises:
        ControlError: it is no reply, or the daemon refused.
    """
    from json import loads

    try:
        reply = loads(line)
    except ValueError:
        reply = None
    if not isinstance(reply, dict) or "ok" not in reply:
        raise ControlError("the daemon gave an answer that this version does not understand; restart the daemon")
    if reply["ok"] is not True and "message" not in reply:
        raise ControlError(str(reply.get("error") or "the daemon refused and did not say why"))
    return reply


def exchange(run_directory: str, line: bytes, patience: float) -> bytes:
    """Send one line and return the line that is answered.

    Raises:
        NotRunning: nobody listens.
        ControlError: the daemon can't be asked, or does not answer in time.
    """
    path = f"{run_directory}/{SOCKET}"
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(patience)
        connection.connect(path)
        try:  # noqa: SIM105  # contextlib would cost more than all the rest
            connection.sendall(line)
        except BrokenPipeError:
            pass  # refused before it was read, and the words are waiting for us
        return _receive(connection)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(path) from None
    except PermissionError:
        raise ControlError(
            f"{path}: you may not ask the daemon; be root or, to read, a member of the group autovpn"
        ) from None
    except TimeoutError:
        raise NoAnswer(f"the daemon gave no answer within {patience:g} s; its log may say why") from None
    except OSError as error:
        raise ControlError(f"{path}: the daemon can't be asked: {error.strerror or error}") from None
    finally:
        connection.close()


def _receive(connection: _socket.socket) -> bytes:
    """Read one line.

    Raises:
        ControlError: the daemon hung up before its end.
    """
    line = b""
    while not line.endswith(b"\n"):
        piece = connection.recv(CHUNK)
        if not piece or len(line) > LONGEST_REPLY:
            raise ControlError("the daemon hung up before it had answered; it may have stopped: 'autovpn status' tells")
        line += piece
    return line


def quoted(text: str) -> str:
    r"""Return a JSON string; every UTF-16 unit is written as \uXXXX, so that nothing needs a case of its own."""
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return '"' + "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4)) + '"'


def complain(text: str) -> None:
    """Say one sentence on stderr; where that is closed there is nobody to say it to."""
    try:
        print(f"autovpn: {text}", file=sys.stderr)  # noqa: T201  # click would double the time to start
    except OSError:
        return
