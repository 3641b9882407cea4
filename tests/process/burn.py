"""Tasks for processes of a worker's pool. Imported by the test, by workers, and by those processes."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from aiotq import App, JobLogHandler, Middleware, Reject, Retry, RetryPolicy, current_job
from aiotq.errors import JobFailed
from aiotq.hooks import Incoming, RunNext
from tests.process.tasks import LOOK_EVERY_S, _Ledger

app = App()
AT_ONCE = RetryPolicy(delays=[0])


class OutOfLuck(Exception):
    """An error of the user's own."""


@app.task
async def tock() -> int:
    """A neighbour on the worker's loop."""
    await asyncio.sleep(0)
    return os.getpid()


@app.task(process=True)
def add(left: int, right: int = 0) -> tuple[int, int]:
    return os.getpid(), left + right


@app.task(process=True, retries=2)
def job_of() -> dict[str, Any]:
    job = current_job()
    return {name: getattr(job, name) for name in job.__struct_fields__}


@app.task(process=True, retries=1, retry=RetryPolicy(delays=[0], give_up_on=(OutOfLuck,)))
def raises(what: str) -> None:
    _Ledger.write("start")
    match what:
        case "retry":
            raise Retry(after=0)
        case "reject":
            raise Reject("no such thing")
        case "luck":
            raise OutOfLuck("none left")
        case "leave":
            raise SystemExit(3)
        case _:
            raise ValueError(what)


@app.task(process=True, retries=5, retry=RetryPolicy(decide=lambda error, attempt: 0 if attempt < 2 else None))
def asks_its_policy() -> None:
    raise ValueError(str(current_job().attempt))


@app.task(process=True, retries=0)
def returns(what: str) -> Any:
    return {"object": object(), "large": "x" * 2_000_000}[what]


@app.task(process=True, retries=1, retry=AT_ONCE)
def spin() -> None:
    _Ledger.write("start")
    while True:
        pass


@app.task(process=True, retries=0)
def match_for_ever() -> None:
    """C code that never lets the interpreter's lock go."""
    _Ledger.write("start")
    re.match("(a+)+$", "a" * 80 + "b")


@app.task(process=True, retries=0)
def hold() -> int:
    """Runs until the gate is opened."""
    _Ledger.write("start")
    while not Path(os.environ["GATE"]).exists():
        time.sleep(LOOK_EVERY_S)  # the gate is a file: it has to work across processes
    _Ledger.write("end")
    return os.getpid()


@app.task(process=True, retries=0)
def breed() -> None:
    """Starts a program, and waits for it as long as it runs."""
    with subprocess.Popen(["/bin/sleep", "1000"]) as program:
        Path(os.environ["GATE"]).write_text(str(program.pid))
        _Ledger.write("start")


@app.task(process=True)
def meet(number: int) -> int:
    """Keeps a core busy until so many have begun, and half a second longer."""
    _Ledger.write("start")
    while Path(os.environ["LEDGER"]).read_bytes().count(b" start\n") < number:
        pass
    until_s = time.monotonic() + 0.5
    while time.monotonic() < until_s:
        pass
    _Ledger.write("end")
    return os.getpid()


@app.task(process=True, retries=1, retry=AT_ONCE)
def fall(how: str) -> None:
    """Takes its process with it."""
    _Ledger.write("start")
    match how:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(7)
        case "exit quietly":
            os._exit(0)
        case "close":
            os.closerange(3, 1 << 16)  # as high as its number may be
        case _:
            ctypes.string_at(0)


@app.task(process=True)
def send_on() -> str:
    """Enqueues from the process, where its worker's command line has said."""
    return add.delay_sync(1, 2).id


@app.task(process=True, retries=0)
def writes(ending: str) -> None:
    """Writes by itself, by `logging` and from a thread, says how far it is, waits for the gate, and ends."""
    job, logger = current_job(), logging.getLogger("burn")
    handler = JobLogHandler()
    logger.addHandler(handler)
    job.log("by itself", level="warning")
    logger.error("by %s", "logging")
    logger.removeHandler(handler)
    thread = threading.Thread(target=job.log, args=("from a thread",))
    thread.start()
    thread.join()
    for number in range(100_000):
        job.progress(number, of=100_000)
    while not Path(os.environ["GATE"]).exists():
        time.sleep(LOOK_EVERY_S)
    job.log("at the end")
    job.progress(100_000, of=100_000)
    if ending == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(process=True)
def chatters() -> None:
    for number in range(5_000):
        current_job().log(f"line {number}")


class Doubles(Middleware):
    """In the worker: doubles what `scale` is given, adds one to what it returns, and notes what it raises."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def run(self, job: Incoming, call: RunNext) -> Any:
        if job.job.task != scale.name:
            return await call(job)
        try:
            return await call(job.replace(args=[2 * job.args[0]])) + 1
        except BaseException as error:
            self.seen.append(type(error).__name__)
            if isinstance(error, JobFailed) and error.error_type == "ZeroDivisionError":
                return -1
            raise


@app.task(process=True, retries=1, retry=AT_ONCE)
def scale(number: float) -> float:
    """Run within Doubles, where a test has added it."""
    _Ledger.write("start")
    if number > 100:
        while True:
            pass
    if number == 10:
        raise Retry(after=0)
    if number == 12:
        raise OutOfLuck("12")
    return 1 / number
