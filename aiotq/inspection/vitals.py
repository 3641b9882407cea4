"""What a worker has said of how it does, with its last heartbeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from aiotq.store.inspection import Card

MOST = 1 << 53


class HeldJob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A job in its hands."""

    id: str
    task: str
    queue: str
    attempt: int
    started_ms: int


class Vitals(msgspec.Struct, frozen=True):
    """As `worker:<id>` has it. None: it has said nothing, being of an older version, or just begun."""

    slots: int | None = None
    used: int | None = None
    stuck: int = 0
    memory: int | None = None
    version: str | None = None
    blocked_s: float = 0.0
    stopping: bool = False
    jobs: tuple[HeldJob, ...] = ()


NOTHING = Vitals()
_decoder = msgspec.json.Decoder(Vitals)


def vitals(card: Card) -> Vitals:
    """Of one worker. What anybody else may have written there is as good as nothing."""
    text = card.fields.get("vitals")
    if not text:
        return NOTHING
    try:
        found = _decoder.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return NOTHING
    right = all(0 <= job.started_ms <= MOST for job in found.jobs)
    return found if right else NOTHING


def number(text: str | None) -> int:
    """A number that a worker has said of itself; what is none is 0."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 16 else 0
