"""What the jobs of every peer do. Worker processes import this beside their own queue; it needs nothing but Python.

A peer gives these functions to its queue, each as a task: noop, nap (asyncio.sleep or time.sleep), burn, echo.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.notes import from_environment

notes = from_environment()
ran = notes.ran


def burn_cpu(cpu_s: float = 0.001) -> None:
    """So much CPU time of this thread, however the cores are shared."""
    until = time.thread_time() + cpu_s
    while time.thread_time() < until:
        pass


async def noop(slot: int, text: str = "") -> None:  # noqa: ARG001  the text is there to be carried
    """Nothing but a note."""
    ran(slot)


async def nap(slot: int, nap_s: float) -> None:
    """Wait, as a job does that calls a service."""
    ran(slot)
    await asyncio.sleep(nap_s)


async def burn(slot: int) -> None:
    """1 ms of pure CPU."""
    ran(slot)
    burn_cpu()


async def echo(slot: int) -> int:
    """Give it back."""
    ran(slot)
    return slot


def sync_noop(slot: int, text: str = "") -> None:  # noqa: ARG001
    """noop, for queues whose tasks are plain functions."""
    ran(slot)


def sync_nap(slot: int, nap_s: float) -> None:
    """nap, the same."""
    ran(slot)
    time.sleep(nap_s)


def sync_burn(slot: int) -> None:
    """burn, the same."""
    ran(slot)
    burn_cpu()


def sync_echo(slot: int) -> int:
    """echo, the same."""
    ran(slot)
    return slot
