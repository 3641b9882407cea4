"""What SIGINT and SIGTERM do to a worker's process."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from aiotq.cli.signals import two_steps


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_stops_gently_the_second_now_the_third_at_once(number):
    said: asyncio.Queue[object] = asyncio.Queue()
    before = signal.getsignal(number)
    with two_steps(
        asyncio.get_running_loop(),
        gently=lambda: said.put_nowait("gently"),
        now=lambda: said.put_nowait("now"),
        end=said.put_nowait,
    ):
        os.kill(os.getpid(), number)
        assert await said.get() == "gently"
        os.kill(os.getpid(), number)
        assert await said.get() == "now"
        os.kill(os.getpid(), number)
        assert await said.get() == 130
    assert signal.getsignal(number) is before


async def test_the_third_needs_no_event_loop():
    ended: list[int] = []
    with two_steps(asyncio.get_running_loop(), gently=lambda: None, now=lambda: None, end=ended.append):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert ended == [130]
