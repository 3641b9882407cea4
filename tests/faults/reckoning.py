"""The end of a chaos run: its witnesses compared, in the light of what was done."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING

from aiotq.job import JobStatus
from aiotq.record import decode
from tests.faults.invariants import Allowed, Evidence, Told, Violation, violations

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.faults.causes import Causes, Verdict
    from tests.faults.invariants import Load, Took
    from tests.faults.load import Account
    from tests.faults.place import Place
    from tests.model.census import Census
    from tests.process.ledger import Entry

STORED_WITHIN_S = 8.0  # of a job's end, whatever is being done to the server
LINES_BEFORE = 12  # of a worker's log, in a complaint
LOSS_KNOWN_WITHIN_S = 15.0  # by who asked meanwhile, and was never answered


class Reckoning:
    """What is known of a run."""

    def __init__(self, place: Place, account: Account, causes: Causes, sample: Census) -> None:
        self._place, self._account, self._causes, self._sample = place, account, causes, sample
        self._entries: Sequence[Entry] = place.ledger.read()
        self.verdict: Verdict = causes.judge(self._entries)
        self.buried = {job_id for job_id, data in sample.records.items() if decode(job_id, data).doc.reason == "lost"}
        self.vanished = {job_id for job_id in account.acked if job_id not in sample.records}

    def violations(
        self, *, times: Sequence[Took], settled: Sequence[tuple[Load, Load]], away: Sequence[tuple[Load, Load]]
    ) -> list[Violation]:
        """All that is wrong."""
        account = self._account
        evidence = Evidence(
            told=Told(acked=account.acked, refused=account.refused, unsure=account.unsure, cancelled=account.cancelled),
            entries=self._entries,
            sample=self._sample,
            allowed=Allowed(
                dead=account.poison,
                may_die=self.buried,
                may_vanish=self._may_vanish(),
                may_repeat=self.verdict.may_repeat,
                most_repeats=min(self.verdict.repeats, self.verdict.in_hand),
                failures=account.failures,
            ),
            settled=settled,
            away=away,
            said={worker.pid: worker.text for worker in self._place.crew},
            times=times,
            exits=self._place.exits,
        )
        found = violations(evidence)
        found += [Violation(invariant="I4", text=text) for text in self.verdict.uncaused]
        found += [Violation(invariant="I4", text=text) for text in self._lost_without_cause()]
        found += [Violation(invariant="I2", text=text) for text in self._published()]
        return found

    def _may_vanish(self) -> set[str]:
        account, causes = self._account, self._causes
        acked = {
            job_id for job_id, at_s in account.acked.items() if causes.lost_in(at_s, durable=job_id in account.durable)
        }
        # Who was never answered has sent it some time before.
        unsure = {
            job_id
            for job_id, at_s in account.unsure.items()
            if any(span.meets(at_s - LOSS_KNOWN_WITHIN_S, at_s) for span in causes.losses)
        }
        return acked | unsure

    def _lost_without_cause(self) -> Iterator[str]:
        """Workers that were told that their lease is lost, and had been left alone."""
        shift_s = time.time() - time.monotonic()
        for worker in self._place.crew:
            for number, line in enumerate(worker.output):
                if '"event":"lease_lost"' in line:
                    at_s = datetime.fromisoformat(json.loads(line)["ts"]).timestamp() - shift_s
                    if not self._causes.excuses_lost_lease(worker.pid, at_s):
                        said = "\n    ".join(one[:300] for one in worker.output[max(0, number - LINES_BEFORE) : number])
                        yield f"{worker.pid} lost its lease at {at_s:.2f}, and nothing had been done to it:\n    {said}"

    def _published(self) -> Iterator[str]:
        """Ends that were published twice; or not at all, though somebody listened."""
        published, ended_s = self._place.published, self._ended_s()
        rolled_back = self._causes.touched(self._entries) | set(self.verdict.may_repeat)
        if self._causes.losses:
            rolled_back |= self._account.cancelled
        for job_id in sorted(self._account.acked):
            times, at_s = published.counts[job_id], ended_s.get(job_id)
            if job_id in rolled_back or job_id in self.vanished or self._causes.lost_in(self._account.acked[job_id]):
                continue
            if times > 1:
                yield f"the end of {job_id} was published {times} times"
            elif not times and at_s is not None and not self._deaf(at_s, at_s + STORED_WITHIN_S):
                yield f"the end of {job_id}, that ran until {at_s:.2f}, was never published"

    def _deaf(self, from_s: float, until_s: float) -> bool:
        return any(span.meets(from_s, until_s) for span in self._place.published.deaf)

    def _ended_s(self) -> Mapping[str, float]:
        """When each job ran to its end, for those that succeeded."""
        return {
            entry.job_id: entry.at_s
            for entry in self._entries
            if entry.what == "end" and self._status(entry.job_id) is JobStatus.SUCCEEDED
        }

    def _status(self, job_id: str) -> JobStatus | None:
        data = self._sample.records.get(job_id)
        return None if data is None else decode(job_id, data).status

    def slowest_recovery_s(self) -> float:
        """The longest time from an attempt's first start to the start that replaced it."""
        first: dict[tuple[str, int], float] = {}
        longest_s = 0.0
        for entry in self._entries:
            if entry.what == "start":
                run = entry.job_id, entry.attempt
                if run in first:
                    longest_s = max(longest_s, entry.at_s - first[run])
                first[run] = entry.at_s
        return longest_s
