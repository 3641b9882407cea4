"""What a process takes, as Linux tells it: processor time, memory, open files and sockets."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.invariants import Load

if TYPE_CHECKING:
    from tests.processes import WorkerProcess

TICKS_A_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def load_of(worker: WorkerProcess) -> Load:
    """What it has taken so far, and holds now."""
    proc = _proc(worker)
    after_name = (proc / "stat").read_text().rpartition(") ")[2].split()
    return Load(
        pid=worker.pid,
        fds=len(list((proc / "fd").iterdir())),
        rss=int((proc / "statm").read_text().split()[1]) * PAGE_BYTES,
        cpu_s=(int(after_name[11]) + int(after_name[12])) / TICKS_A_S,  # utime and stime
        lines=len(worker.output),
        at_s=time.monotonic(),
    )


def connects(worker: WorkerProcess) -> bool:
    """Whether it makes a connection at this moment: the socket of one has a twin until it is made (decision 47)."""
    links: list[str] = []
    for entry in (_proc(worker) / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            links.append(str(entry.readlink()))
    sockets = [link for link in links if link.startswith("socket:")]
    return len(set(sockets)) < len(sockets)


def _proc(worker: WorkerProcess) -> Path:
    return Path("/proc") / str(worker.pid)
