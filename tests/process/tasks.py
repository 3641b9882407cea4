"""What the spawned workers run. Each attempt writes a line to the ledger as it starts, and one as it ends.

The ledger is a file outside of the store under test: LEDGER in the environment, opened with O_APPEND, so that lines of
several processes never mix. A task that waits does so until the file GATE exists, so that a test says when.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from aiotq import App, RetryPolicy, current_job

LOOK_EVERY_S = 0.02


class _Ledger:
    """The file, opened when first written to: the test's own process declares the tasks too, and runs none."""

    file: int | None = None

    @classmethod
    def write(cls, what: str) -> None:
        if cls.file is None:
            cls.file = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        job = current_job()
        line = f"{job.id} {job.attempt} {os.getpid()} {time.monotonic_ns()} {what}\n"
        os.write(cls.file, line.encode())


async def note() -> int:
    """Returns at once."""
    _Ledger.write("start")
    _Ledger.write("end")
    return os.getpid()


async def told() -> dict[str, str]:
    """Returns the headers that came along."""
    _Ledger.write("start")
    _Ledger.write("end")
    return dict(current_job().headers)


async def nap(seconds: float) -> int:
    """Sleeps as a polite task does."""
    _Ledger.write("start")
    await asyncio.sleep(seconds)  # the work
    _Ledger.write("end")
    return os.getpid()


def nap_in_thread(seconds: float) -> int:
    """The same, as a plain def."""
    _Ledger.write("start")
    time.sleep(seconds)  # what the job does: it takes so long
    _Ledger.write("end")
    return os.getpid()


async def hold() -> int:
    """Runs until the gate is opened."""
    _Ledger.write("start")
    gate = Path(os.environ["GATE"])
    while not gate.exists():  # noqa: ASYNC110  the gate is a file: it has to work across processes
        await asyncio.sleep(LOOK_EVERY_S)
    _Ledger.write("end")
    return os.getpid()


def hold_in_thread() -> int:
    """The same, as a plain def."""
    _Ledger.write("start")
    gate = Path(os.environ["GATE"])
    while not gate.exists():
        time.sleep(LOOK_EVERY_S)  # the gate is a file: it has to work across processes
    _Ledger.write("end")
    return os.getpid()


async def hold_elsewhere() -> int:
    """The same, as what a coroutine hands to a thread of asyncio's."""
    return await asyncio.to_thread(hold_in_thread)


def book(database: str) -> bool:
    """Waits as `hold_in_thread` does, then writes to a database of the user's, unless a later attempt has."""
    _Ledger.write("start")
    gate = Path(os.environ["GATE"])
    while not gate.exists():
        time.sleep(LOOK_EVERY_S)
    with closing(sqlite3.connect(database)) as connection, connection:
        row = {"writer": os.getpid(), "fence": current_job().fence}
        changed = connection.execute("UPDATE account SET writer = :writer, fence = :fence WHERE fence < :fence", row)
        connection.execute(
            "INSERT INTO attempt VALUES (:writer, :fence, :changed)", row | {"changed": changed.rowcount}
        )
    _Ledger.write("end")
    return changed.rowcount == 1


async def block(seconds: float) -> int:
    """Stands in the event loop's way."""
    _Ledger.write("start")
    time.sleep(seconds)  # noqa: ASYNC251  that is the fault
    _Ledger.write("end")
    return os.getpid()


async def spin(seconds: float) -> int:
    """The same, and never lets the interpreter's lock go by itself, so long or until the gate is opened."""
    _Ledger.write("start")
    until_s, gate = time.monotonic() + seconds, Path(os.environ["GATE"])
    while time.monotonic() < until_s and not gate.exists():
        piece_s = time.monotonic() + 0.05
        while time.monotonic() < piece_s:
            pass
    _Ledger.write("end")
    return os.getpid()


async def carry(data: str) -> int:
    """Has arguments too large to come with a claim, if it is given such."""
    _Ledger.write("start")
    _Ledger.write("end")
    return len(data)


_kept: list[bytes] = []


async def swell(mib: int) -> int:
    """Keeps so much memory for the life of its process."""
    _Ledger.write("start")
    _kept.append(b"x" * (mib << 20))
    _Ledger.write("end")
    return os.getpid()


async def stumble(times: int) -> int:
    """Fails so often, then succeeds."""
    _Ledger.write("start")
    await asyncio.sleep(0)
    if current_job().attempt <= times:
        raise ValueError("not yet")
    _Ledger.write("end")
    return os.getpid()


async def starve() -> None:
    """Lets its process open no further file, socket or loop."""
    _Ledger.write("start")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    _Ledger.write("end")


async def grasp() -> int:
    """Opens a file, as soon as there is a descriptor for it, and keeps it until the gate is opened."""
    _Ledger.write("start")
    gate, file = Path(os.environ["GATE"]), -1
    try:
        while not gate.exists():
            if file < 0:
                with suppress(OSError):  # there is none: it takes the next one that somebody gives back
                    file = os.open("/dev/null", os.O_RDONLY)
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        if file >= 0:
            os.close(file)
    _Ledger.write("end")
    return os.getpid()


async def devour() -> None:
    """Takes all the memory that its process may have, down to the last page, for good; and wants more."""
    _Ledger.write("start")
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        raise MemoryError("not all of the machine's")
    size = 1 << 24
    while size >= resource.getpagesize():
        try:
            _kept.append(bytes(size))
        except MemoryError:
            size >>= 1
    raise MemoryError


async def gorge(mib: int) -> int:
    """Wants more memory than its process may have, whatever that has by now."""
    _Ledger.write("start")
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + (mib << 19), before[1]))  # half of it
    try:
        return len(bytearray(mib << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


async def die() -> None:
    """Takes its process with it, one way or the other."""
    _Ledger.write("start")
    await asyncio.sleep(0.05)  # time for its neighbours to start
    if os.getpid() % 2:
        os._exit(7)
    os.kill(os.getpid(), signal.SIGKILL)


async def crash() -> None:
    """Takes its process with it by a segmentation fault."""
    _Ledger.write("start")
    await asyncio.sleep(0.05)  # time for its neighbours to start
    ctypes.string_at(0)


async def bar() -> int:
    """Stands in the event loop's way until the gate is opened."""
    _Ledger.write("start")
    gate = Path(os.environ["GATE"])
    while not gate.exists():
        time.sleep(LOOK_EVERY_S)  # noqa: ASYNC251  that is the fault
    _Ledger.write("end")
    return os.getpid()


async def cling() -> None:
    """Never lets itself be cancelled."""
    _Ledger.write("start")
    while True:
        try:
            await asyncio.sleep(LOOK_EVERY_S)
        except asyncio.CancelledError:
            continue


class Tasks:
    """The tasks as an app of the test's process knows them: under the names that the workers know."""

    def __init__(self, app: App) -> None:
        self.note = app.task(note, name="note")
        self.told = app.task(told, name="told")
        self.nap = app.task(nap, name="nap")
        self.nap_in_thread = app.task(nap_in_thread, name="nap_in_thread")
        self.hold = app.task(hold, name="hold")
        self.hold_in_thread = app.task(hold_in_thread, name="hold_in_thread")
        self.hold_elsewhere = app.task(hold_elsewhere, name="hold_elsewhere")
        self.book = app.task(book, name="book")
        self.block = app.task(block, name="block")
        self.spin = app.task(spin, name="spin")
        self.carry = app.task(carry, name="carry")
        self.swell = app.task(swell, name="swell")
        self.stumble = app.task(stumble, name="stumble", retry=RetryPolicy(delays=[0.05]))
        self.grasp = app.task(grasp, name="grasp")
        self.devour = app.task(devour, name="devour", retries=0)
        self.gorge = app.task(gorge, name="gorge", retries=0)
        self.starve = app.task(starve, name="starve")
        self.die = app.task(die, name="die")
        self.crash = app.task(crash, name="crash")
        self.bar = app.task(bar, name="bar")
        self.cling = app.task(cling, name="cling", retries=0, timeout=0.2)


app = App()
Tasks(app)
impatient = App(max_block=1)
Tasks(impatient)
