"""A stand-in for zebedee 2.6: its command line, its configuration, its messages and what it does with connections.

What it says and when follows the source of 2.6.0 and what was observed of it. Its cryptography is left out: each side
shows a hash of its key, which is enough to be refused for. It stands alone, since it is run as `zebedee`.

    zebedee -p > client.key; zebedee -P -f client.key > client.id; zebedee -f FILE
"""

from __future__ import annotations

import getopt
import hashlib
import json
import os
import secrets
import shlex
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

BOOLEANS = frozenset(("server", "detached", "multiuse", "ipv4only"))
MULTIPLE = frozenset(("tunnel", "target"))


class Refused(Exception):
    """A connection that comes to nothing, and why."""


def message(level: int, text: str) -> None:
    """Print as zebedee does: errors at level 0, all else indented by its level."""
    thread = threading.get_ident() % 100000
    mark = " " * level if level else "ERROR: "
    sys.stderr.write(f"zebedee({os.getpid() % 100000}/{thread}): {mark}{text}\n")
    sys.stderr.flush()


def read_config(path: str) -> dict[str, Any]:
    """Read the keywords of a file and of those that it includes."""
    config: dict[str, Any] = {name: [] for name in MULTIPLE}
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if len(words) != 2:
            message(0, f"invalid line in config file '{path}' at line {number}")
            continue
        name, value = words[0].lower(), words[1]
        if name == "include":
            config.update({key: found for key, found in read_config(value).items() if found})
        elif name in MULTIPLE:
            config[name].append(value)
        else:
            config[name] = value == "true" if name in BOOLEANS else value
    return config


def identity(config: dict[str, Any]) -> str:
    """Return the fingerprint of the key of this side, which is a new one where none is given."""
    key = config.get("privatekey") or secrets.token_hex(20)
    return hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()


def is_known(config: dict[str, Any], who: str) -> bool:
    """Report whether the other side is in the file of those that are known, if there is one."""
    known = config.get("checkidfile")
    return known is None or who in {line.split()[0] for line in Path(known).read_text().splitlines() if line.strip()}


def listening(address: str, port: int) -> socket.socket:
    """Listen, or end as zebedee does."""
    try:
        return socket.create_server((address, port))
    except OSError as error:
        message(0, f"can't create listener socket: ({os.strerror(error.errno or 0)})")
        sys.exit(1)


def serve(listener: socket.socket, work: Any, *arguments: Any) -> None:  # noqa: ANN401 (a function and its arguments)
    """Accept connections for ever, each in a thread."""
    while True:
        connection, peer = listener.accept()
        message(1, f"accepted connection from {peer[0]}")
        threading.Thread(target=guarded, args=(work, connection, *arguments), daemon=True).start()


def guarded(work: Any, connection: socket.socket, *arguments: Any) -> None:  # noqa: ANN401 (as above)
    """Carry out the work of one connection; what goes wrong ends that one alone."""
    with connection:
        try:
            work(connection, *arguments)
            message(1, "connection closed")
        except Refused as refused:
            message(0, str(refused))


def relay(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on, both ways, until a side is through."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(8192):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=pump, args=(other, one), daemon=True).start()
    pump(one, other)


def client(local: socket.socket, config: dict[str, Any], target: str) -> None:
    """Call the server for one local connection, and only now."""
    host, port = config["serverhost"], int(config["serverport"])
    try:
        server = socket.create_connection((host, port))
    except OSError as error:
        raise Refused(f"can't connect to {host} port {port}: ({error.strerror})") from error
    with server, server.makefile("rw") as lines:
        answer = asked(lines, {"target": target, "keylength": int(config.get("keylength", 128))})
        if answer is None:
            raise Refused("failed requesting protocol version")
        if not answer["port"]:
            raise Refused(f"server refused request for redirection to {target}")
        if answer["keylength"] < int(config.get("minkeylength", 0)):
            raise Refused(f"server key length too small ({answer['keylength']} < {config['minkeylength']})")
        if not is_known(config, answer["id"]):
            raise Refused(f"server's identity not found in '{config['checkidfile']}'")
        if asked(lines, {"id": identity(config)}) is None:
            raise Refused("failed to read challenge from server")
        message(1, f"tunnel established to {host} port {target.rpartition(':')[2]}")
        relay(local, server)


def server(remote: socket.socket, config: dict[str, Any]) -> None:
    """Answer one client."""
    with remote.makefile("rw") as lines:
        request = json.loads(lines.readline() or "null")
        if request is None:
            raise Refused("failed reading protocol version")
        found = connected(request["target"], config)
        keylength = min(request["keylength"], int(config.get("keylength", 128)))
        answer = {"port": found is not None, "keylength": keylength, "id": identity(config)}
        shown = asked(lines, answer) if found else asked(lines, answer, wait=False)
        if found is None:
            raise Refused("initial protocol exchange failed")
        with found:
            if shown is None:
                raise Refused("failed reading client DH key")
            if not is_known(config, shown["id"]):
                raise Refused(f"client's key identity not found in '{config['checkidfile']}'")
            asked(lines, {}, wait=False)
            message(1, f"tunnel established to {request['target']}")
            relay(found, remote)


def asked(lines: Any, words: dict[str, Any], *, wait: bool = True) -> dict[str, Any] | None:  # noqa: ANN401 (a file)
    """Say something and return the answer, None where there is none."""
    try:
        lines.write(json.dumps(words) + "\n")
        lines.flush()
        answer: dict[str, Any] | None = json.loads(lines.readline() or "null") if wait else None
    except OSError:
        return None
    return answer


def connected(target: str, config: dict[str, Any]) -> socket.socket | None:
    """Connect to a target that is allowed."""
    if target not in {allowed.removesuffix("/tcp") for allowed in config["target"]}:
        message(0, f"client requested redirection to a disallowed target ({target}/tcp)")
        return None
    host, _, port = target.rpartition(":")
    try:
        found = socket.create_connection((host, int(port)), timeout=5.0)
        found.settimeout(None)
    except OSError as error:
        message(0, f"failed connecting to port {port} on {host}: ({error.strerror})")
        return None
    return found


def main() -> None:
    """Do what the command line says."""
    options = dict(getopt.getopt(sys.argv[1:], "f:pP")[0])
    config = read_config(options["-f"]) if "-f" in options else {}
    if "-P" in options:
        print(identity(config), "test")  # noqa: T201 (its output)
        return
    if "-p" in options:
        print(f'privatekey "{secrets.token_hex(20)}"')  # noqa: T201 (its output)
        return
    assert not config["detached"], "the foreground is all that is needed"
    if config["server"]:
        serve(listening(config["listenip"], int(config["serverport"])), server, config)
    for tunnel in config["tunnel"]:
        port, _, target = tunnel.partition(":")
        listener = listening(config["listenip"] if config.get("ipv4only") else "::1", int(port))
        message(1, f"Listening on local port {port}")
        threading.Thread(target=serve, args=(listener, client, config, target), daemon=True).start()
    message(1, "waiting for client connection")
    threading.Event().wait()


if __name__ == "__main__":
    main()
