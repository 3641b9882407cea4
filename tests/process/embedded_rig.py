"""What the tests of the embedded server share: who holds a directory, waiting, starters to be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiotq.store import embedded
from aiotq.store.embedded import guard
from tests.processes import PATH, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

ENDED_WITHIN_S = 5.0  # what is promised


def eventually(true: Callable[[], object], *, within_s: float = ENDED_WITHIN_S) -> float:
    """Wait until it is true; the seconds that took. Fails after `within_s`."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < within_s, f"not true within {within_s} s"
        time.sleep(0.01)  # what it looks at are other processes, in /proc: they tell nobody
    return time.monotonic() - started


def holders(directory: Path, name: str = "") -> set[int]:
    """The processes that have a file of the directory open: all, or that one file."""
    found: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            opened = [str(link.readlink()).removesuffix(" (deleted)") for link in (process / "fd").iterdir()]
        except OSError:
            continue  # it has ended meanwhile
        if any(file == str(directory / name) or (not name and file.startswith(f"{directory}/")) for file in opened):
            found.add(int(process.name))
    return found


def servers(directory: Path) -> set[int]:
    """The servers on a directory; a correct number is at most one."""
    return holders(directory, guard.SERVER_LOCK)


def guardians(directory: Path) -> set[int]:
    """The guardians of a directory."""
    return holders(directory, guard.GUARD_LOCK) - {os.getpid()}


def ask(address: str, *commands: str) -> list[str]:
    """The replies to some commands, as a short-lived client."""
    with closing(guard.Line(address)) as line:
        return [line.ask(command) for command in commands]


@contextmanager
def kept(directory: Path) -> Generator[str]:
    """Within it, a server that does not end by itself, as it has a client: its address."""
    address = embedded.ensure(directory)
    with closing(guard.Line(address)):
        yield address


def end(directory: Path) -> None:
    """End whatever runs on a directory, and fail if that took force."""
    embedded.stop(directory)
    try:
        eventually(lambda: not holders(directory), within_s=10)
    finally:
        for pid in holders(directory):
            os.kill(pid, signal.SIGKILL)


def kill(pid: int) -> None:
    """Without any warning."""
    os.kill(pid, signal.SIGKILL)


def starter(directory: Path, code: str = "", *, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A process that says "armed", waits for a line, runs `code` and `ensure`, and says the server's pid.

    It goes once its input is closed. The code may use os, signal, embedded, die() and address.
    """
    script = f"""
import os, signal, sys
from pathlib import Path
from aiotq.store import embedded
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
print("armed", flush=True)
sys.stdin.readline()
{code}
line = embedded.guard.Line(embedded.ensure(Path({str(directory)!r})))
print(line.info("server")["process_id"], flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PATH, **(env or {})},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "armed\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    """Let a starter start."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def said(process: subprocess.Popen[str]) -> str:
    """The next line of a starter; empty if it has died."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> int:
    """Let a starter go; its exit code."""
    process.communicate()
    return process.returncode
