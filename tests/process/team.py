"""A supervisor and its worker processes, for tests: started, watched, ended."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.process.ledger import until
from tests.process.rig import Rig
from tests.processes import WorkerProcess

LONG = ("--lease", "60")  # whoever waited for it would not come within a test's time
MARGIN_S = 3.0  # for a machine that has other things to do


@dataclass(kw_only=True)
class Team:
    """A supervisor and the worker processes that it started first."""

    supervisor: WorkerProcess
    pids: list[int]

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one of them."""
        assert pid in self.pids
        os.kill(pid, number)


async def start(rig: Rig, *options: str, count: int = 2, own_group: bool = False) -> Team:
    """A supervisor whose processes all work."""
    supervisor = await rig.worker("--processes", str(count), *options, own_group=own_group, ready=False)
    return Team(supervisor=supervisor, pids=[await next_pid(supervisor) for _ in range(count)])


async def next_pid(supervisor: WorkerProcess) -> int:
    """The pid of the next process that works."""
    return (await supervisor.line("ready"))["pid"]


async def gone(pid: int) -> None:
    """Until a process that is no child of this one has ended."""

    async def ended() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    await until(ended, f"the end of process {pid}")


async def taken(pid: int, number: signal.Signals) -> None:
    """Until a signal waits for a process no more: one that comes while another waits is the same one to the kernel."""

    async def delivered() -> bool:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return True  # it has ended by it
        (waiting,) = (line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:"))
        return not int(waiting, 16) >> (number - 1) & 1

    await until(delivered, f"{number.name} is taken by process {pid}")


def starts_of(rig: Rig, jobs: list[Any]) -> dict[str, int]:
    """How often each job has started."""
    counts = dict.fromkeys((job.id for job in jobs), 0)
    for entry in rig.ledger.starts():
        counts[entry.job_id] += 1
    return counts
