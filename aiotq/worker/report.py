"""What a worker says of each job, and the counts of what became of them."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from aiotq.job import Cancelled, Failed, Retried, Returned, Succeeded
from aiotq.worker import discreet
from aiotq.worker.log import LOG, JobLog
from aiotq.worker.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiotq.worker.held import Held

COUNTED = ("succeeded", "failed", "retried", "returned", "cancelled")
_COUNTED_AS: Mapping[type, str] = {
    Succeeded: "succeeded",
    Failed: "failed",
    Retried: "retried",
    Returned: "returned",
    Cancelled: "cancelled",
}


class Report:
    """The lines and the tally of one worker."""

    def __init__(self) -> None:
        self.tally: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self._log, self.meter = JobLog(), Meter()

    def started(self, held: Held) -> None:
        """An attempt begins."""
        self.meter.started(held)
        if self._log.hushes("started", 1, held.started_s):
            return
        assert held.record is not None
        now_ms, doc = held.started_ms or 0, held.record.doc
        due_ms = doc.due_ms or held.record.enqueued_ms + (doc.delay_ms or 0)
        waited_ms = max(0, now_ms - due_ms)
        self._log.job(
            logging.INFO,
            "started",
            held,
            "%s %s started, waited %d ms",
            held.name,
            held.job_id,
            waited_ms,
            waited_ms=waited_ms,
        )
        if LOG.isEnabledFor(logging.DEBUG):
            self._log.job(
                logging.DEBUG,
                "arguments",
                held,
                "%s %s arguments %s",
                held.name,
                held.job_id,
                discreet.arguments(held),
            )

    def decided(self, jobs: Sequence[Held], now_s: float) -> None:
        """They have their outcomes. now_s: monotonic."""
        self.meter.decided(jobs, now_s)
        others = [held for held in jobs if type(held.outcome) is not Succeeded]
        succeeded = len(jobs) - len(others)
        self.tally["succeeded"] += succeeded
        if succeeded and not self._log.hushes("succeeded", succeeded, now_s):
            others = jobs
        for held in others:
            self._decided(held)

    def _decided(self, held: Held) -> None:
        match held.outcome:
            case Succeeded():
                self._succeeded(held, held.outcome)
            case Retried():
                self._retried(held, held.outcome)
            case Failed():
                self._failed(held, held.outcome)
            case Cancelled():
                self.tally["cancelled"] += 1
                reason = held.outcome.reason
                self._log.job(
                    logging.INFO, "cancelled", held, "%s %s %s", held.name, held.job_id, reason, reason=reason
                )
            case Returned() if held.handle is not None:
                self.tally["returned"] += 1
                self._log.job(logging.INFO, "returned", held, "%s %s put back to its queue", held.name, held.job_id)
            case _:
                pass  # put back before it had started: nobody has seen it here

    def void(self, held: Held) -> None:
        """What was counted of it does not count: it was another worker's by then."""
        self.meter.void(held)
        match held.outcome:
            case Retried() if not held.outcome.counts:
                return
            case Returned() if held.handle is None:
                return
            case _:
                self.tally[_COUNTED_AS[type(held.outcome)]] -= 1

    def flush(self) -> None:
        """Say what is still to be said of the last second."""
        self._log.flush()

    def _succeeded(self, held: Held, outcome: Succeeded) -> None:
        took_ms = _took_ms(held)
        self._log.job(
            logging.INFO, "succeeded", held, "%s %s took %d ms", held.name, held.job_id, took_ms, took_ms=took_ms
        )
        if LOG.isEnabledFor(logging.DEBUG):
            result = discreet.result(held, outcome.result)
            self._log.job(logging.DEBUG, "result", held, "%s %s result %s", held.name, held.job_id, result)

    def _retried(self, held: Held, outcome: Retried) -> None:
        delay_s = outcome.delay_ms / 1000
        error = outcome.error
        if not outcome.counts:
            self._log.job(
                logging.ERROR,
                "postponed",
                held,
                "%s %s: %s; put back for %g s",
                held.name,
                held.job_id,
                error.message,
                delay_s,
                error=error,
                delay_ms=outcome.delay_ms,
            )
            return
        self.tally["retried"] += 1
        attempts = self._attempts(held)
        self._log.job(
            logging.WARNING,
            "retried",
            held,
            "%s %s %s: %s (attempt %d of %d, again in %g s)",
            held.name,
            held.job_id,
            error.type,
            error.message,
            held.attempt,
            attempts,
            delay_s,
            error=error,
            delay_ms=outcome.delay_ms,
            attempts=attempts,
            took_ms=_took_ms(held),
            **_traceback(held),
        )

    def _failed(self, held: Held, outcome: Failed) -> None:
        self.tally["failed"] += 1
        error = outcome.error
        attempts = self._attempts(held)
        self._log.job(
            logging.ERROR,
            "failed",
            held,
            "%s %s %s: %s (gave up in attempt %d of %d)",
            held.name,
            held.job_id,
            error.type,
            error.message,
            held.attempt,
            attempts,
            error=error,
            attempts=attempts,
            reason=outcome.reason,
            took_ms=_took_ms(held),
            lost=held.lost,
            **_traceback(held),
        )

    def _attempts(self, held: Held) -> int:
        given = held.record.doc.retries if held.record is not None else 0
        if given is None:
            given = held.task.retries if held.task is not None else 0
        return given + 1


def _took_ms(held: Held) -> int:
    return round((monotonic() - held.started_s) * 1000) if held.started_ms is not None else 0


def _traceback(held: Held) -> dict[str, str]:
    """All frames, where somebody wants to see them."""
    return {} if held.traceback is None else {"traceback": held.traceback}
