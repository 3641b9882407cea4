"""`make demo` as a user runs it, only without a terminal: real processes, and none of them left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, command_line, die_with_parent

pytestmark = pytest.mark.timeout(120)


async def start_demo(folder: Path) -> asyncio.subprocess.Process:
    """Its processes and files are known by the folder: all of them inherit it as TMPDIR."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.shop"),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )


async def selling(demo: asyncio.subprocess.Process) -> None:
    """Wait until its processes are up."""
    assert demo.stdout is not None
    async for line in demo.stdout:
        if line.startswith(b"A store, a mail server"):
            return
    raise AssertionError("it ended before it sold anything")


def running(folder: Path) -> dict[int, str]:
    """What runs with that folder as its TMPDIR: command lines by pid."""
    found: dict[int, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue  # ended meanwhile, or another user's
        if f"TMPDIR={folder}".encode() in environment.split(b"\0"):
            found[int(process.name)] = command_line(int(process.name))
    return found


async def test_a_thousand_sales_add_up(server_folder: Path):
    demo = await start_demo(server_folder)
    async with asyncio.timeout(90):
        said = (await demo.communicate())[0].decode()
    assert demo.returncode == 0, said
    assert "1,000  sales, done in" in said
    assert "988  mails in the maildir; 30 of them were refused at first (451)" in said
    assert "12  mails refused for good (550)" in said
    assert "1  nightly digest: 80,721.07 € turned over; sold best: typewriter" in said
    assert "It adds up: 988 + 12 = 1,000, each mailed once or refused." in said
    assert "What next" in said
    assert "Traceback" not in said
    assert running(server_folder) == {}
    assert list(server_folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_stopped_half_way_it_leaves_nothing_running(server_folder: Path, number: signal.Signals):
    demo = await start_demo(server_folder)
    async with asyncio.timeout(60):
        await selling(demo)
        demo.send_signal(number)
        said = (await demo.communicate())[0].decode()
    assert demo.returncode == 130, said
    assert "Traceback" not in said
    assert "nothing is left running" in said
    assert running(server_folder) == {}
    assert list(server_folder.iterdir()) == []


async def test_a_worker_that_dies_ends_it_with_a_word_and_nothing_left(server_folder: Path):
    demo = await start_demo(server_folder)
    async with asyncio.timeout(60):
        await selling(demo)
        worker = next(pid for pid, command in running(server_folder).items() if "examples.shop.tasks:app" in command)
        os.kill(worker, signal.SIGKILL)
        said = (await demo.communicate())[0].decode()
    assert demo.returncode == 1, said
    assert "error: a process of the demo ended early. It said:" in said
    assert "Traceback" not in said
    assert running(server_folder) == {}
    assert list(server_folder.iterdir()) == []
