"""Which event loop a worker's process runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiotq.cli.mistake import Mistake

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


def loop_factory(*, uvloop: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None: asyncio's own. Raises Mistake if uvloop is asked for and not installed."""
    if not uvloop:
        return None
    try:
        import uvloop as found  # noqa: PLC0415  the extra `uvloop`
    except ImportError:
        raise Mistake("--uvloop: uvloop is not installed", "run: pip install 'aiotq[uvloop]'") from None
    module: Any = found
    return module.new_event_loop
