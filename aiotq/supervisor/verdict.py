"""What the end of a worker process means: pure decisions."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

USAGE = 2  # an exit code that says: not before something is corrected
GAVE_UP = 1  # of one that works until nothing is left: it could not reach the store in time
FORCED = 130
FIRST_DELAY_S, MOST_DELAY_S = 0.5, 30.0
LONG_ENOUGH_S = 60.0  # a process that has worked for so long has not failed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a worker process ended, and what it had been."""

    code: int  # negative: the signal that killed it
    ready: bool  # it has worked
    full: bool  # it has said that it ends by itself, to be replaced
    first: bool  # no process has worked before it
    stopping: bool  # all shall end
    finite: bool  # it works until nothing is left


class Verdict(Enum):
    """What follows."""

    DONE = "done"  # it has done what it was started for
    REPLACE = "replace"  # at once
    RESTART = "restart"  # after a while; what it held goes back
    HOPELESS = "hopeless"  # another one would fare the same: all end


def judge(end: End) -> Verdict:
    """What follows from an end."""
    if end.stopping:
        return Verdict.DONE if end.code == 0 or was_asked(end) else Verdict.RESTART
    if not end.ready and (end.first or end.code == USAGE):
        return Verdict.HOPELESS
    if end.finite and not end.ready and end.code == GAVE_UP:
        return Verdict.HOPELESS
    if end.code != 0:
        return Verdict.RESTART
    if end.full:
        return Verdict.REPLACE
    return Verdict.DONE if end.finite else Verdict.RESTART  # somebody else has told it to stop


def was_asked(end: End) -> bool:
    """Whether it was stopped before it could handle that: it held nothing."""
    return end.stopping and not end.ready and end.code in {-signal.SIGTERM, -signal.SIGINT}


def exit_code(end: End) -> int:
    """As a shell shows it."""
    if was_asked(end):
        return 0
    return end.code if end.code >= 0 else 128 - end.code


def worst(codes: Iterable[int]) -> int:
    """Of several exit codes: the highest."""
    return max(codes, default=0)


def said(code: int) -> str:
    """How it ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def delay_s(failures: int, *, spread: float) -> float:
    """How long to wait before a restart. failures: in a row, from 1. spread: 0..1, drawn by the caller."""
    longest = min(FIRST_DELAY_S * 2 ** min(failures - 1, 16), MOST_DELAY_S)
    return longest * (1 + spread) / 2
