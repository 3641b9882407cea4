"""What is to be known of jobs whose workers were asked to stop them: when they end, and what to do if they do not."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from aiotq.cli.operate.parts import told
from aiotq.cli.operate.reach import Where, shown_id
from aiotq.cli.text import duration
from aiotq.errors import InvalidRecord, JobNotFound, StoreError
from aiotq.inspection.hand import TOLD as _TOLD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.inspection.values import WorkerInfo
    from aiotq.inspector import Inspector

TOLD = _TOLD.what
BLOCKED_S = 1.0
INIT = 1  # the process that a container is: no signal from within ends it for sure
MOST = 5  # jobs whose workers are named


async def advice(inspector: Inspector, ids: Sequence[str], where: Where) -> list[str]:
    """Lines for a person; none if nobody was asked."""
    if not ids:
        return []
    one = where.command("job", of=[shown_id(where, ids[0])])
    again = one if len(ids) == 1 else where.command("jobs", "--state", "running")
    said = [f"whether it has ended: {again}", "It ends at its next await; a plain def as it returns."]
    with suppress(StoreError, JobNotFound, InvalidRecord):  # what was asked for is done; this is more than that
        workers = {worker.label: worker for worker in await inspector.workers()}
        labels = {(await inspector.job(job_id)).summary.worker for job_id in ids[:MOST]}
        said += [line for label in sorted(filter(None, labels)) if label in workers for line in _of(workers[label])]
    return said


def _of(worker: WorkerInfo) -> list[str]:
    """How to end it for good: with its worker."""
    stands = worker.blocked_s >= BLOCKED_S
    if stands:
        still = (
            f"Its worker {told(worker.label)} has stood still for {duration(worker.blocked_s)} and does not hear of it."
        )
    else:
        still = f"If it does not end, its worker {told(worker.label)} has to."
    said = [f"{still} A job that was cancelled is not run again then; the others that it holds are."]
    if worker.pid == INIT:
        return [*said, f"That worker is all of its container: restart the container {told(worker.host)}."]
    return [*said, f"on {told(worker.host)}: kill -{'KILL' if stands else 'TERM'} {worker.pid}"]
