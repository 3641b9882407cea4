"""What was counted since the month began: the counters of a metrics page.

They come out of the store alone: so they are the same whoever asks, and go on where they were for one that is started
anew.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiotq.inspection import tallies
from aiotq.inspection.tallies import DAY_MS, MINUTE_MS
from aiotq.inspection.values import Totals
from aiotq.shown import instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiotq.inspection.desk import Desk

OUTCOMES: Mapping[str, str] = {"s": "succeeded", "f": "failed", "r": "retried", "c": "cancelled"}
ATTEMPTS = ("started", "succeeded", "failed", "retried", "cancelled", "returned", "lost")


async def totals(desk: Desk) -> Totals:
    """Days first, minutes then: what moves from one to the other in between is missing once, never counted twice."""
    operator = desk.operator
    now_ms = await operator.now_ms()
    month_ms = _month_ms(now_ms)
    days = await operator.hashes([f"stats:d:{day}" for day in range(month_ms // DAY_MS, now_ms // DAY_MS + 1)])
    minutes = await tallies.unfolded(operator, now_ms // MINUTE_MS)
    total = Counter[str]()
    for row in (*days, *(row for minute, row in minutes.items() if minute * MINUTE_MS >= month_ms)):
        total.update(row)
    scheduled, due = await operator.number("schedule"), await operator.number("schedule", most=str(now_ms))
    return counted(total, month_ms=month_ms, scheduled=scheduled, due=due, dead=await operator.number("dead"))


def counted(total: Mapping[str, int], *, month_ms: int, scheduled: int = 0, due: int = 0, dead: int = 0) -> Totals:
    """The fields of the counters, by what they mean."""
    return Totals(
        since=instant(month_ms),
        enqueued=_named(total, "e:"),
        ended=_named(total, "q:"),
        attempts={name: total.get(name, 0) for name in ATTEMPTS},
        tasks={
            (name, outcome): number
            for how, outcome in OUTCOMES.items()
            for name, number in _named(total, f"t:{how}:").items()
        },
        took_s={name: number / 1000 for name, number in _named(total, "tm:").items()},
        waited=tallies.histogram(total, "w"),
        ran=tallies.histogram(total, "r"),
        scheduled=scheduled,
        due=due,
        dead=dead,
    )


def _named(total: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name[len(prefix) :]: number for name, number in sorted(total.items()) if name.startswith(prefix)}


def _month_ms(now_ms: int) -> int:
    first = datetime.fromtimestamp(now_ms / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return round(first.timestamp()) * 1000
