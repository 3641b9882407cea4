"""Limits on real time that hold on a busy machine too: what the machine itself kept everybody waiting is not counted.

Linux says for how long somebody has waited for a processor (/proc/pressure/cpu). On a machine that has nothing else to
do that is next to nothing, and a limit is as strict as it reads.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.invariants import Took

PRESSURE = Path("/proc/pressure/cpu")
MOST_S = 10.0  # by which a limit may be stretched, however busy the machine is


def starved_s() -> float:
    """For how long, since it started, this machine has had too few processors; 0 where it does not tell."""
    try:
        some, *_ = PRESSURE.read_text().splitlines()
    except OSError:
        return 0.0
    return int(some.rpartition("total=")[2]) / 1e6


@dataclass(slots=True, kw_only=True)
class Stopwatch:
    """Runs from when it is made."""

    began_s: float = field(default_factory=time.monotonic)  # as in the ledger
    _starved_s: float = field(default_factory=starved_s)

    def took(self, what: str, limit_s: float, *, until_s: float | None = None, lasted_s: float | None = None) -> Took:
        """What took so long; said as well, for who reads along.

        until_s: until a moment that the ledger names, and not until now. lasted_s: it was a part of that time.
        """
        took_s = lasted_s if lasted_s is not None else (until_s or time.monotonic()) - self.began_s
        starved = starved_s() - self._starved_s
        sys.stdout.write(f"{what}: {took_s:.2f} s, at most {limit_s:.2f} s; starved for {starved:.2f} s\n")
        return Took(what=what, took_s=took_s, limit_s=limit_s + min(starved, MOST_S))
