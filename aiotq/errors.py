"""Every error that aiotq raises, in one tree.

    AiotqError
    ├── UsageError (ValueError)          a parameter or a declaration that can't be right; raised at the caller's line
    ├── SerializationError (TypeError)   a value that JSON can't carry, or that does not fit its annotation
    ├── PayloadTooLarge                  the arguments of a job are larger than `max_payload`
    ├── ResultTooLarge                   a result is larger than `max_result`; the job has failed
    ├── JobTimeout (TimeoutError)        an attempt ran longer than its `timeout`
    ├── ProcessDied                      the process of an attempt ended before the attempt did (`process=True`)
    ├── UnknownTask                      a job names a task that no module of this worker has registered
    ├── InvalidRecord                    stored bytes are not a job's record
    │   ├── NewerRecord                  ... or are one of a newer version of aiotq
    │   └── BadSignature                 ... or were not signed by one of this app's `signing_keys`
    ├── JobError                         what became of a job; `.job_id`
    │   ├── JobFailed                    it raised, or could not run: `.error_type`, `.error_message`, `.frames`
    │   ├── JobCancelled                 it was cancelled: `.reason`
    │   │   └── JobExpired               ... since it had not started in time
    │   ├── JobNotFound                  there is no record of it (any more)
    │   └── ResultTimeout (TimeoutError) it has not ended in the time that the caller would wait
    └── StoreError                       the store; `.verb`, `.url` (without its password)
        ├── StoreUnavailable             no answer: nothing was sent, or the effect is unknown (`.sent`)
        │   └── DurabilityUnknown        a job of `durable=True` is queued; whether a crash can lose it is not known
        ├── StoreRefused                 the server answered that it will not, for now; nothing was done: `.code`
        │   ├── StoreFull                ... because its memory is full
        │   └── QueueFull                ... aiotq itself, as a queue is as long as `max_len` lets it be: `.queue`
        ├── NotDurable                   the server can't keep `durable=True`; nothing was queued
        └── StoreUnusable                what answers can't serve aiotq: no Redis, too old, wrong password: `.code`
            └── EmbeddedUnavailable      no embedded server can be started here

All carry their facts as attributes; a message says what happened, what was expected and what to do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What stands in quotes, a person's text or a command, is one piece. None opens within a word ("can't").
_BETWEEN = re.compile(r"""(?<![\w\\])(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`)|(; )""", re.DOTALL)


def parts(message: str) -> list[str]:
    """What a message consists of: what happened, what was expected, what to do. Between them is "; ".

    One inside quotes is not between them. There is one part at least.
    """
    cuts = [found.span() for found in _BETWEEN.finditer(message) if found[1]]
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(message)]
    return [message[start:end] for start, end in zip(starts, ends, strict=True)]


class AiotqError(Exception):
    """The root of every error that aiotq raises."""


class UsageError(AiotqError, ValueError):
    """A parameter or a declaration that can't be right. The message names it, its value and what is allowed."""


class SerializationError(AiotqError, TypeError):
    """A value that JSON can't carry, or stored JSON that does not fit the annotation it is decoded by."""


class PayloadTooLarge(AiotqError):
    """The arguments of a job are larger than the app's `max_payload`. Nothing was enqueued."""

    def __init__(self, *, task: str, size: int, limit: int) -> None:
        self.task, self.size, self.limit = task, size, limit
        super().__init__(
            f"{task}: the arguments take at least {size:,} bytes; at most {limit:,} are allowed (max_payload); "
            "store the data elsewhere and pass a reference (an id, a path, a URL)"
        )


class ResultTooLarge(AiotqError):
    """A result is larger than the app's `max_result`. The job has failed and is not retried."""

    def __init__(self, *, task: str, size: int, limit: int) -> None:
        self.task, self.size, self.limit = task, size, limit
        super().__init__(
            f"{task}: the result takes at least {size:,} bytes; at most {limit:,} are allowed (max_result); "
            "store the data elsewhere and return a reference (an id, a path, a URL)"
        )


class JobTimeout(AiotqError, TimeoutError):
    """An attempt ran longer than its `timeout`, in seconds. Retried as any failure."""

    def __init__(self, *, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(f"the attempt ran longer than its timeout of {timeout_s:g} s and was cancelled")


class ProcessDied(AiotqError):
    """The process of an attempt ended before the attempt did, or never began. Retried as any failure.

    signal: the number of the one that ended it; exit_code: what it left with by itself; None: neither is known.
    """

    def __init__(self, message: str, *, signal: int | None = None, exit_code: int | None = None) -> None:
        self.signal, self.exit_code = signal, exit_code
        super().__init__(message)


class UnknownTask(AiotqError):
    """A job names a task that no module of this worker has registered."""

    def __init__(self, *, task: str, known: tuple[str, ...], nearest: tuple[str, ...]) -> None:
        self.task, self.known, self.nearest = task, known, nearest
        guess = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        super().__init__(
            f"no task is named {task[:200]!r}{guess} "
            f"(known here: {', '.join(known[:20]) or 'none'}); start a worker on the module that has it"
        )


class InvalidRecord(AiotqError):
    """Stored bytes are not a job's record. enqueued_ms, generation: what its header says, where that can be read."""

    def __init__(self, message: str, *, enqueued_ms: int | None = None, generation: str | None = None) -> None:
        self.enqueued_ms, self.generation = enqueued_ms, generation
        super().__init__(message)


class NewerRecord(InvalidRecord):
    """A record of a newer version of aiotq than this process understands."""


class BadSignature(InvalidRecord):
    """A record that none of this app's `signing_keys` has signed as it is. It is neither decoded nor run."""

    def __init__(self, *, job_id: str, why: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"the record of job {job_id} {why}; one that a key of this app's signing_keys has signed was expected; "
            "give the same keys to every producer and worker, and find out who else writes to this Redis"
        )


class JobError(AiotqError):
    """What became of a job, or that nothing is known of it."""

    def __init__(self, message: str, *, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a user's traceback."""

    file: str
    line: int
    function: str
    code: str  # the source line, stripped; empty where there is none


class JobFailed(JobError):
    """A job's last attempt raised, or it could not be run at all.

    error_type: the remote exception's class, "ValueError" or "shop.errors:OutOfStock".
    error_message: its text. frames: the user's own frames, outermost first.
    """

    def __init__(
        self,
        *,
        job_id: str,
        task: str,
        error_type: str,
        error_message: str,
        frames: tuple[Frame, ...] = (),
        attempt: int,
    ) -> None:
        self.task, self.error_type, self.error_message = task, error_type, error_message
        self.frames, self.attempt = frames, attempt
        where = f" ({frames[-1].file}:{frames[-1].line} in {frames[-1].function})" if frames else ""
        said = f": {error_message}" if error_message else ""
        super().__init__(f"{task} failed in attempt {attempt}: {error_type}{said}{where}", job_id=job_id)


class JobCancelled(JobError):
    """The job was cancelled; it has no result."""

    def __init__(self, *, job_id: str, reason: str = "cancelled") -> None:
        self.reason = reason
        super().__init__(f"job {job_id} was cancelled (reason: {reason}); it has no result", job_id=job_id)


class JobExpired(JobCancelled):
    """The job had not started when its `expires` was over; it never ran."""

    def __init__(self, *, job_id: str) -> None:
        super().__init__(job_id=job_id, reason="expired")


class JobNotFound(JobError):
    """There is no record of the job: it never was, or its `result_ttl` is over."""

    def __init__(self, *, job_id: str) -> None:
        super().__init__(
            f"there is no job {job_id}: it was never enqueued in this namespace, "
            "or it ended longer ago than its result_ttl (failure_ttl if it failed)",
            job_id=job_id,
        )


class ResultTimeout(JobError, TimeoutError):
    """The job has not ended in the time that the caller would wait. It goes on all the same."""


class StoreError(AiotqError):
    """The store could not do what was asked. `verb`: what was asked; `url`: of which server, without its password."""

    def __init__(self, message: str, *, verb: str, url: str) -> None:
        self.verb, self.url = verb, url
        super().__init__(message)


class StoreUnavailable(StoreError):
    """Redis did not answer in time.

    sent: False if nothing was sent, so nothing happened; True if the effect is unknown. Enqueuing again
    under the same id is safe either way. refused: nobody listens there, which is known at once.
    """

    def __init__(self, message: str, *, verb: str, url: str, sent: bool, refused: bool = False) -> None:
        self.sent, self.refused = sent, refused
        super().__init__(message, verb=verb, url=url)


class DurabilityUnknown(StoreUnavailable):
    """A job enqueued with `durable=True` is queued, but it is not known whether it is on disk or on a replica.

    Enqueuing again under the same id is safe, and waits for that again. job_id: None for many of them.
    """

    def __init__(self, message: str, *, url: str, job_id: str | None) -> None:
        self.job_id = job_id
        super().__init__(message, verb="enqueue", url=url, sent=True)


class NotDurable(StoreError):
    """The server can't make sure that a job outlives its crash, as `durable=True` asks for. Nothing was queued."""


class StoreRefused(StoreError):
    """Redis answered that it will not do it for now, and did nothing. `code`: its answer's first word (LOADING)."""

    def __init__(self, message: str, *, verb: str, url: str, code: str) -> None:
        self.code = code
        super().__init__(message, verb=verb, url=url)


class StoreFull(StoreRefused):
    """Redis is at its `maxmemory` and takes nothing new; workers can still drain it."""


class QueueFull(StoreRefused):
    """As many jobs wait in the queue as the app's `max_len` allows. Nothing of this one was stored; `code`: QUEUEFULL.

    queue, max_len, job_id: of the job that did not fit. refused: of `enqueue_many`, the places of the calls that did
    not, from 0; all others are queued.
    """

    def __init__(self, *, queue: str, max_len: int, job_id: str, verb: str, url: str) -> None:
        self.queue, self.max_len, self.job_id = queue, max_len, job_id
        self.refused: tuple[int, ...] = (0,)
        super().__init__(
            f"{verb}: {max_len:,} jobs or more wait in the queue {queue!r} at {url}; fewer were expected (max_len), "
            f"so nothing of job {job_id} was stored; enqueue it again later, start more workers, or raise max_len",
            verb=verb,
            url=url,
            code="QUEUEFULL",
        )


class StoreUnusable(StoreError):
    """What answers at the URL can't serve aiotq, now or later: no Redis, too old, wrong password, not permitted.

    `code`: the first word of its answer (NOPERM), if it gave one.
    """

    def __init__(self, message: str, *, verb: str, url: str, code: str | None = None) -> None:
        self.code = code
        super().__init__(message, verb=verb, url=url)


class EmbeddedUnavailable(StoreUnusable):
    """No embedded server can be started here. The message says what to install."""
