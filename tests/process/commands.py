"""`aiotq COMMAND ...` as a process, to its end or line by line; on a pipe or on a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.processes import PATH, die_with_parent

if TYPE_CHECKING:
    from tests.process.rig import Rig

WITHIN_S = 60.0
_STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout, which holds one line of JSON and nothing else."""
        (line,) = self.out.splitlines()
        return json.loads(line)


def environment(rig: Rig, **given: str) -> dict[str, str]:
    """What a command finds: where the rig's server is, and where its tasks are to be imported from."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIOTQ_", "REDIS_"))}
    where = {"AIOTQ_URL": rig.url, "AIOTQ_NAMESPACE": rig.namespace, "PYTHONPATH": PATH}
    return {**kept, **where, "LEDGER": str(rig.ledger.path), "GATE": str(rig.folder / "gate"), **given}


async def start(rig: Rig, *words: str, **env: str) -> asyncio.subprocess.Process:
    """A command whose pipes are read by the test."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiotq", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=rig.folder,
        env=environment(rig, **env),
        preexec_fn=die_with_parent,
    )
    rig.others.append(process)
    return process


async def aiotq(rig: Rig, *words: str, **env: str) -> Said:
    """Run a command to its end."""
    if rig.warm is not None:
        environ = environment(rig, **env)
        code, told, err = await rig.warm.run(words, env=environ, folder=rig.folder, within_s=WITHIN_S)
        return Said(code=code, out=told.decode(), err=err.decode())
    process = await start(rig, *words, **env)
    out, err = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode is not None
    return Said(code=process.returncode, out=out.decode(), err=err.decode())


async def line(stream: asyncio.StreamReader | None, part: str) -> str:
    """The next line with that in it."""
    assert stream is not None
    async with asyncio.timeout(WITHIN_S):
        while said := (await stream.readline()).decode():
            if part in said:
                return said
    raise AssertionError(f"the stream ended before a line with {part!r}")


def _own_terminal() -> None:
    """In the child: stdin is the terminal that its Ctrl-C comes from."""
    die_with_parent()
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@dataclass(slots=True)
class Terminal:
    """A command on a terminal of 80 columns and 24 rows."""

    process: asyncio.subprocess.Process
    _number: int
    _raw: bytearray = field(default_factory=bytearray)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    async def of(cls, rig: Rig, *words: str, **env: str) -> Terminal:
        """Start it."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aiotq", *words),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=rig.folder,
            env={**environment(rig), "TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **env},
            preexec_fn=_own_terminal,
        )
        os.close(theirs)
        rig.others.append(process)
        made = cls(process, ours)
        asyncio.get_running_loop().add_reader(ours, made._read)
        return made

    def _read(self) -> None:
        data = b""
        with suppress(OSError):  # Linux says so when the other end is closed
            data = os.read(self._number, 65_536)
        if not data:
            asyncio.get_running_loop().remove_reader(self._number)
        self._raw += data
        self._came.set()

    @property
    def raw(self) -> str:
        """All that was written to it."""
        return self._raw.decode(errors="replace")

    @property
    def text(self) -> str:
        """The same without what steers a terminal."""
        return _STEERING.sub("", self.raw)

    async def shows(self, part: str, *, times: int = 1) -> None:
        """Until that was written to it so often."""
        async with asyncio.timeout(WITHIN_S):
            while self.text.count(part) < times:
                self._came.clear()
                await self._came.wait()

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._number, text.encode())

    async def end(self) -> int:
        """Wait for its end; the exit code."""
        async with asyncio.timeout(WITHIN_S):
            code = await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._number)
        with suppress(OSError):
            while data := os.read(self._number, 65_536):
                self._raw += data
        os.close(self._number)
        return code


async def interrupted(process: asyncio.subprocess.Process) -> int:
    """Ctrl-C: the exit code."""
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode is not None
    return process.returncode
