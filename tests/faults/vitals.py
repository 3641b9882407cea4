"""What a process takes, as Linux tells it: processor time, memory, open files and sockets."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.invariants import Load, Took

if TYPE_CHECKING:
    from tests.processes import WorkerProcess

TICKS_A_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def load_of(worker: WorkerProcess) -> Load:
    """What it has taken so far, and holds now."""
    proc = Path("/proc") / str(worker.pid)
    after_name = (proc / "stat").read_text().rpartition(") ")[2].split()
    return Load(
        pid=worker.pid,
        fds=len(list((proc / "fd").iterdir())),
        rss=int((proc / "statm").read_text().split()[1]) * PAGE_BYTES,
        cpu_s=(int(after_name[11]) + int(after_name[12])) / TICKS_A_S,  # utime and stime
        lines=len(worker.output),
        at_s=time.monotonic(),
    )


def delayed_s(pid: int) -> float:
    """How long the threads of a process have been ready to run, and waited for a core."""
    waited_ns = 0
    for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            waited_ns += int(stat.read_text().split()[1])
    return waited_ns / 1e9


class Stopwatch:
    """Counts from when it is made how long something takes some processes and this one.

    A limit is one of a machine that is at their disposal: the time for which others had the cores is added to it.
    """

    def __init__(self, *pids: int) -> None:
        self._pids = (*pids, os.getpid())
        self._began_s, self._delayed_s = time.monotonic(), self._delays()

    @property
    def others_s(self) -> float:
        """For how long others have had the cores so far."""
        return max(0.0, self._delays() - self._delayed_s)

    def took(self, what: str, limit_s: float) -> Took:
        """What it shows now."""
        return Took(what=what, took_s=time.monotonic() - self._began_s, limit_s=limit_s + self.others_s)

    def _delays(self) -> float:
        return sum(map(delayed_s, self._pids))
