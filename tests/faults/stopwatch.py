"""Limits on real time that hold on a busy machine too: what the machine itself kept everybody waiting is not counted.

Linux says for how long a process has been ready to run and waited for a core (/proc/<pid>/task/*/schedstat), and for
how long anybody has (/proc/pressure/cpu), and for how long a virtual machine had no core under it (/proc/stat). On a
machine that has nothing else to do that is next to nothing, and a limit is as strict as it reads.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.faults.invariants import Took

PRESSURE = Path("/proc/pressure/cpu")
STAT = Path("/proc/stat")
STOLEN = 8  # the field of its first line that says it, in ticks of all cores
MOST_S = 10.0  # by which a limit may be stretched, however busy the machine is


def starved_s(*pids: int) -> float:
    """For how long processes have waited for a core since they started, all in all; of none: for how long anybody has.

    0 where the system does not tell.
    """
    if pids:
        return sum(map(_delayed_s, pids))
    try:
        some, *_ = PRESSURE.read_text().splitlines()
    except OSError:
        return 0.0
    return int(some.rpartition("total=")[2]) / 1e6


def stolen_s() -> float:
    """For how long other machines on the same hardware have had this one's cores, all in all; 0 where nobody tells."""
    try:
        total = STAT.read_text().partition("\n")[0].split()
        return int(total[STOLEN]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0.0


def _delayed_s(pid: int) -> float:
    waited_ns = 0
    for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            waited_ns += int(stat.read_text().split()[1])
    return waited_ns / 1e9


class Stopwatch:
    """Counts from when it is made how long something takes some processes and this one; of none: the whole machine."""

    def __init__(self, *pids: int, began_s: float | None = None) -> None:
        """began_s: it has been running since then, as the ledger counts (monotonic)."""
        self.began_s = time.monotonic() if began_s is None else began_s
        self._pids = (*pids, os.getpid()) if pids else ()
        self._starved_s = self._waited_s()

    @property
    def starved_s(self) -> float:
        """For how long others have had the cores so far."""
        return max(0.0, self._waited_s() - self._starved_s)

    def _waited_s(self) -> float:
        return starved_s(*self._pids) + stolen_s()

    def took(self, what: str, limit_s: float, *, until_s: float | None = None, lasted_s: float | None = None) -> Took:
        """What took so long; said as well, for who reads along.

        until_s: until a moment that the ledger names, and not until now. lasted_s: it was a part of that time.
        """
        took_s = lasted_s if lasted_s is not None else (until_s or time.monotonic()) - self.began_s
        starved = self.starved_s
        sys.stdout.write(f"{what}: {took_s:.2f} s, at most {limit_s:.2f} s; starved for {starved:.2f} s\n")
        return Took(what=what, took_s=took_s, limit_s=limit_s + min(starved, MOST_S))
