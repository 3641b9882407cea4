"""What there is in a namespace, in a handful of reads: for `aiotq health`."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from aiotq.store.contract import Survey
from aiotq.store.facts import is_full, parsed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiotq.store.keys import Keys

MOST_WORKERS, MOST_QUEUES = 1000, 100


async def survey(send: Callable[..., Awaitable[Any]], keys: Keys, *, info: bool) -> Survey:
    """send: sends one command and returns its reply. info: whether the server knows INFO."""
    began_s = monotonic()
    await send("PING")
    ping_s = monotonic() - began_s
    seconds, micros = await send("TIME")
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    ids = await send("ZRANGEBYSCORE", keys.workers, now_ms, "+inf", "LIMIT", 0, MOST_WORKERS)
    cards = [send("HMGET", keys.worker(_text(worker_id)), "label", "queues") for worker_id in ids or ()]
    workers: dict[str, list[str]] = {}  # several may go by one label
    for card in await asyncio.gather(*cards):
        label, queues = card or (None, None)  # of another type: somebody else's
        if label is not None:
            workers.setdefault(_text(label), []).extend(_text(queues or b"").split(","))
    names = sorted(map(_text, await send("SMEMBERS", keys.queues()) or ()))[:MOST_QUEUES]
    waiting = await asyncio.gather(*(send("ZCARD", keys.lines(name)) for name in names))
    full = info and is_full(parsed(await send("INFO", denied=b"")))
    there = dict(zip(names, map(bool, waiting), strict=True))
    return Survey(ping_s=ping_s, workers=workers, queues=there, full=full)


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
