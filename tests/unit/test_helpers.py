"""The helpers of the tests: a helper that is wrong makes every test wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from tests import processes, servers
from tests.clock import VirtualClock


async def test_who_sleeps_on_the_virtual_clock_wakes_when_its_time_has_come(clock: VirtualClock):
    start_ms = clock.now_ms()
    woken: list[str] = []

    async def sleep(name: str, ms: int) -> None:
        await clock.sleep_until(start_ms + ms)
        woken.append(name)

    async with asyncio.TaskGroup() as group:
        for name, ms in [("late", 200), ("now", 0), ("soon", 100)]:
            group.create_task(sleep(name, ms))
        await asyncio.sleep(0)
        assert woken == ["now"]
        clock.advance(ms=100)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert woken == ["now", "soon"]
        clock.advance(ms=100)
    assert woken == ["now", "soon", "late"]
    assert clock.now_ms() == start_ms + 200


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not tell")
def test_a_child_process_is_seen_until_it_has_ended():
    before = processes.children()
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert processes.children() - before == {child.pid}
        assert "input()" in processes.command_line(child.pid)
        child.communicate(b"\n")
    assert processes.children() == before


def test_a_server_that_does_not_start_says_why(server_folder):
    with (
        pytest.raises(RuntimeError, match="no-such-option"),
        servers.running("valkey", server_folder, "--no-such-option", "1"),
    ):
        pass


async def test_a_worker_that_ends_without_the_line_says_what_it_said():
    worker = await processes.spawn("no_such_module_of_mine", env={"AIOTQ_URL": "redis://127.0.0.1:1"})
    with pytest.raises(AssertionError, match="no_such_module_of_mine"):
        await worker.line("ready")
    assert await worker.exit() == 2
    await worker.kill()
