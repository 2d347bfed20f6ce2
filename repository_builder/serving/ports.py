"""TCP ports on loopback: free ones for a server, and who holds a wanted one."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from repository_builder.errors import ServerError

HOST = "127.0.0.1"
_RANGE = range(20_000, 32_000)
"""Below Linux' ephemeral ports (32768 and up), so that no outgoing connection takes a port between choice and use."""


def choose(wanted: int, name: str, taken: Collection[int] = ()) -> int:
    """The wanted port if it is free, else `ServerError`; for 0 a free port that is not in `taken`."""
    if wanted:
        if not 0 < wanted < 65_536:
            raise ServerError(f"{wanted} is not a port", where=f"--{name}-port", fix="take a number from 1 to 65535")
        _require_free(wanted, name)
        if wanted in taken:
            raise ServerError(f"port {wanted} is asked for twice", where=f"--{name}-port", fix="give each its own port")
        return wanted
    for port in random.sample(_RANGE, 200):
        if port not in taken and _problem(port) is None:
            return port
    raise ServerError("no free port found", why=f"200 ports of {_RANGE} are in use", fix=f"give one with --{name}-port")


def _require_free(port: int, name: str) -> None:
    problem = _problem(port)
    if problem is None:
        return
    holder = owner(port)
    raise ServerError(
        f"port {port} cannot be used for {name}",
        where=f"{HOST}:{port}",
        why=f"{problem}{f': process {holder}' if holder else ''}",
        fix=f"stop that process, or leave --{name}-port out: a free port is then chosen",
    )


def _problem(port: int) -> str | None:
    """Why the port cannot be listened on; None if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except PermissionError:
            return "only root may listen on ports below 1024"
        except OSError:
            return "it is in use"
    return None


def owner(port: int) -> str:
    """Process that listens on the port, as `1234 (nginx)`; empty where it cannot be found (another user's, say)."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listeners(Path("/proc/net", table), port)}
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            if any(_target(link) in wanted for link in (process / "fd").iterdir()):
                return f"{process.name} ({(process / 'comm').read_text().strip()})"
    return ""


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _listeners(table: Path, port: int) -> list[str]:
    """Inodes of the sockets that listen on the port; columns of /proc/net/tcp: proc(5)."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
