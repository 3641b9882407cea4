"""How a supervisor and its seats do: a pure decision.

It is ready when every seat is: one process of four that dies again and again, or has lost its server, shows. It lives
as long as it runs, unless no process is left that could do its work: then starting anew helps, and loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiotq.health import WELL, Health
from aiotq.supervisor.words import Doing

if TYPE_CHECKING:
    from collections.abc import Mapping

SILENT_S = 6.0  # a process says how it does every 2 s
HUNG_S = 90.0  # by a thread, so only what stops all threads, like a C call, keeps it from that for so long
RELIEF_S = 15.0  # the successor of a recycled process counts as ready for so long while it starts


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatSigns:
    """What is to be seen of the process in a seat. `_s` are seconds."""

    running: bool
    doing: Doing | None = None  # by its own word
    silent_s: float = 0.0  # since that word
    relief: bool = False  # it takes the place of one that was well
    age_s: float = 0.0


def judge(seats: Mapping[int, SeatSigns], *, count: int, stopping: bool) -> Health:
    """How all do. seats: by number, from 1; count: how many there shall be."""
    if stopping:
        return Health(live=True, ready=False, reason="stopping")
    if len(seats) == count and all(_dead(signs) for signs in seats.values()):
        one = seats[1].doing
        why = one.reason if one and not one.live else f"it has said nothing for more than {HUNG_S:g} s"
        reason = f"no process can do its work: {why}"
        return Health(live=False, ready=False, reason=reason)
    reasons = [(number, _unready(seats.get(number))) for number in range(1, count + 1)]
    unready = [f"process {number}: {reason}" for number, reason in reasons if reason is not None]
    if not unready:
        return WELL
    more = f" (and {len(unready) - 1} more)" if len(unready) > 1 else ""
    return Health(live=True, ready=False, reason=f"{unready[0]}{more}")


def _dead(signs: SeatSigns) -> bool:
    return signs.running and signs.doing is not None and (not signs.doing.live or signs.silent_s > HUNG_S)


def _unready(signs: SeatSigns | None) -> str | None:
    if signs is None:
        return "starting"
    if not signs.running:
        return "it has ended"
    if signs.relief and signs.age_s < RELIEF_S and (signs.doing is None or not signs.doing.ready):
        return None
    if signs.doing is None:
        return "starting"
    if signs.silent_s > SILENT_S:
        return f"it has said nothing for more than {SILENT_S:g} s"
    return None if signs.doing.ready else signs.doing.reason or "not ready"
