"""`python -m benchmarks.crowd N`: N aiotq workers in one process, for the curve of idle workers."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

from benchmarks.peers.aiotq import app


async def main(workers: int) -> None:
    """Until it is terminated."""
    async with app, AsyncExitStack() as stack:
        for _ in range(workers):
            await stack.enter_async_context(app.worker())
        print("all are ready", file=sys.stderr, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
