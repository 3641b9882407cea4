"""Processes of the demo's own: the mail server and the workers. None of them outlives it."""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

END_WITHIN_S = 10


class EndedEarly(Exception):
    """A process ended that should not have; the message holds what it said."""


@asynccontextmanager
async def python(*words: str) -> AsyncGenerator[Process]:
    """`python -m <words>`, until the block ends, however it ends: then SIGTERM, and SIGKILL if that is ignored."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *words),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,  # Ctrl-C comes to the demo alone, which ends the others in the right order
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(END_WITHIN_S):
                await process.communicate()
        except TimeoutError:
            pass  # and killed below
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def first_line(process: Process) -> str:
    """What it prints first. Raises EndedEarly if it ends before."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = await process.stdout.readline()
    if not line:
        raise EndedEarly((await process.stderr.read()).decode(errors="replace"))
    return line.decode().strip()


async def log_lines(process: Process) -> AsyncIterator[dict[str, Any]]:
    """The log lines of a worker that was started with --log-format json, until it ends: then raises EndedEarly."""
    assert process.stderr is not None
    said: list[str] = []
    async for line in process.stderr:
        text = line.decode(errors="replace")
        said = [*said[-20:], text]
        if text.startswith("{"):
            yield json.loads(text)
    raise EndedEarly("".join(said))
