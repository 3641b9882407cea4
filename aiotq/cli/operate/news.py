"""What has happened to jobs between two looks at them: pure, from summaries to events."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiotq.inspection.values import JobSummary
from aiotq.job import JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

REMEMBERED = 50_000  # things that were told, or were there before

MOST_EARLIER = 10  # attempts that are told of, if nobody saw them
LAST = datetime.max.replace(tzinfo=UTC)
# In which order things are told that happened at the same moment.
_ORDER = ("enqueued", "retried", "started", "succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One thing that happened to a job. Times are by Redis's clock."""

    what: str  # "enqueued", "started", "retried", "succeeded", "failed", "cancelled"
    at: datetime | None
    job: JobSummary
    attempt: int  # 0: it was none
    known: bool = True  # False: nobody saw it; what came later says that it was so

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from all others."""
        return (self.job.id, self.what, self.attempt if self.what in {"started", "retried"} else 0)


@dataclass(slots=True)
class News:
    """Remembers what was there, so that only what is new is told. Its first look tells nothing."""

    known: OrderedDict[tuple[str, str, int], None] = field(default_factory=OrderedDict[tuple[str, str, int], None])
    floor: datetime | None = None  # what happened before is old, even if it comes into sight only later
    looked: bool = False

    def look(self, jobs: Iterable[JobSummary]) -> list[Happened]:
        """What is new, in the order in which it happened."""
        found = [one for job in jobs for one in happened(job)]
        new: list[Happened] = []
        for one in found:
            if one.key not in self.known and self._is_new(one):
                new.append(one)
            self._remember(one.key)
        if not self.looked:
            self.looked = True
            self.floor = max((one.at for one in found if one.at is not None), default=None)
            return []
        return sorted(new, key=lambda one: (one.at or LAST, _ORDER.index(one.what)))

    def _is_new(self, one: Happened) -> bool:
        return self.floor is None or one.at is None or one.at >= self.floor

    def _remember(self, key: tuple[str, str, int]) -> None:
        self.known[key] = None
        self.known.move_to_end(key)
        if len(self.known) > REMEMBERED:
            self.known.popitem(last=False)


def happened(job: JobSummary) -> list[Happened]:
    """What a summary says has happened to a job, as far as one look can know."""

    def of(what: str, at: datetime | None, attempt: int = job.attempt, *, known: bool = True) -> Happened:
        return Happened(what=what, at=at, job=job, attempt=attempt, known=known)

    found: list[Happened] = []
    if job.enqueued_at is not None:
        found.append(of("enqueued", job.enqueued_at, 0))
    # Between two looks a job may have failed and be at its next attempt: then that tells of the one before.
    found += [of("retried", job.started_at, number, known=False) for number in _earlier(job)]
    if job.status is JobStatus.SCHEDULED and job.attempt and job.error is not None:
        found.append(of("retried", job.finished_at))
    elif job.status is JobStatus.RUNNING or (job.status.ended and job.started_at is not None):
        found.append(of("started", job.started_at))
    if job.status.ended:
        found.append(of(job.status.value, job.finished_at))
    return found


def _earlier(job: JobSummary) -> range:
    """The attempts before the last one, of a job that is past them."""
    return range(max(1, job.attempt - MOST_EARLIER), job.attempt)
