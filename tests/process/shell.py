"""A person's folder and shell, in which `python -m aiotq` is run."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests import processes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiotq import App
    from tests.servers import Server

NOBODY = "redis://:secret@127.0.0.1:1/0"  # where no server is
HELLO = """
import asyncio, logging, os, sys, time
from aiotq import App

app = App()

@app.task
async def greet(name: str) -> str:
    return f"Hello, {name}!"

@app.task(retries=0)
async def fail(name: str) -> str:
    raise ValueError(f"no {name}s [red]\\x1b[2J")

@app.task
async def hold() -> None:
    await asyncio.sleep(60)

@app.task
async def stubborn() -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

@app.task
def hold_thread() -> None:
    time.sleep(60)  # the fault: longer than any grace, and no thread can be ended

@app.task
async def block() -> None:
    while True:
        time.sleep(0.01)  # the fault: it never gives the loop its turn, and leaves the processor to others

@app.task
async def leave_something_behind() -> None:
    app.left = asyncio.create_task(stubborn())
    await asyncio.sleep(0)

@app.task
async def chat() -> None:
    logging.getLogger("hello").warning("half past nine")
    logging.getLogger("hello").info("nobody needs to know")
"""


def environment(**given: str) -> dict[str, str]:
    """What a person's shell would have, and no more of aiotq's than is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIOTQ_", "REDIS_"))}
    return {**kept, "PYTHONPATH": processes.PATH, **given}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The person's folder, with a hello.py in it."""
    (tmp_path / "hello.py").write_text(HELLO)
    return tmp_path


@pytest.fixture
def aiotq(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m aiotq` to its end."""

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "aiotq", *words],
            cwd=folder,
            env=environment(**env),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


class Starter:
    """Starts workers in the person's folder."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.env = folder, env
        self.started: list[processes.WorkerProcess] = []

    async def __call__(
        self, *words: str, text: bool = False, ready: bool = True, **env: str
    ) -> processes.WorkerProcess:
        """text: lines for people instead of JSON. ready: wait until it works."""
        form = {"AIOTQ_LOG_FORMAT": "text"} if text else {}
        worker = await processes.spawn(*words, env={**self.env, **form, **env}, cwd=self.folder)
        self.started.append(worker)
        if ready and not text:
            await worker.line("ready")
        return worker


@pytest_asyncio.fixture
async def start(folder: Path, valkey: Server, namespace: str) -> AsyncIterator[Starter]:
    """Starts workers where `app` is. They are killed at the end."""
    starter = Starter(folder, {"AIOTQ_URL": valkey.url, "AIOTQ_NAMESPACE": namespace})
    yield starter
    for worker in starter.started:
        await worker.kill()


def of_jobs(worker: processes.WorkerProcess) -> list[str]:
    """What it said, but for the warning that the server under test is an old one."""
    return [line for line in worker.output if "script engine" not in line]


def task(app: App, name: str) -> Any:
    """The sender's side of a task of hello.py."""

    async def anything(*_args: Any) -> Any: ...

    return app.task(name=f"hello:{name}")(anything)
