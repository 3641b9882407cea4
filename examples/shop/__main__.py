"""`python -m examples.shop`, which is `make demo`."""

import asyncio
import signal
import sys

from examples.shop.demo import main


async def until_told() -> int:
    """Run the demo; SIGTERM ends it as Ctrl-C does, so that it always tidies up."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await main()


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(until_told()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\nStopped; nothing is left running.")
        sys.exit(130)
