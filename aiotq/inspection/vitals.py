"""What a worker has said of how it does, with its last heartbeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aiotq.document import Count

if TYPE_CHECKING:
    from aiotq.inspection.values import WorkerInfo
    from aiotq.store.inspection import Card


class HeldJob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A job in its hands."""

    id: str
    task: str
    queue: str
    attempt: Count
    started_ms: Count


class Vitals(msgspec.Struct, frozen=True):
    """As `worker:<id>` has it. None: it has said nothing, being of an older version, or just begun."""

    slots: Count | None = None
    used: Count | None = None
    stuck: Count = 0
    memory: Count | None = None
    version: str | None = None
    blocked_s: float = 0.0
    stopping: bool = False
    jobs: tuple[HeldJob, ...] = ()


BLOCKED_S = 5.0  # for which a loop has stood still, to be told of


def stands(worker: WorkerInfo | Vitals) -> bool:
    """Whether it takes nothing, nor says of what it took that it can't run it."""
    return worker.blocked_s >= BLOCKED_S or (worker.slots is not None and worker.stuck >= worker.slots > 0)


NOTHING = Vitals()
_decoder = msgspec.json.Decoder(Vitals)


def vitals(card: Card) -> Vitals:
    """Of one worker. What anybody else may have written there is as good as nothing."""
    text = card.fields.get("vitals")
    if not text:
        return NOTHING
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return NOTHING


def number(text: str | None) -> int:
    """A number that a worker has said of itself; what is none is 0."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 16 else 0
