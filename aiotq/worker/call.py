"""What a worker and a process of its pool say to each other. A frame is four bytes of length, then so much msgpack.

worker ──Call──▶ process      process ──an empty frame: it begins, then Said, now and then, and Answer──▶ worker

No pickle: the process finds the function by its name, and what comes back is bytes, text and numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, msgpack

from aiotq.current import CurrentJob
from aiotq.job import ErrorInfo, Failed, Retried

LENGTH = 4  # bytes, big-endian
BEGINS = bytes(LENGTH)


class Call(Struct, frozen=True, kw_only=True):
    """One attempt."""

    module: str  # where the task is, from the worker's own registry
    path: str  # ... and its name in there
    args: bytes  # a JSON array
    kwargs: bytes  # a JSON object
    job: CurrentJob  # without state and scribe: they stay in the worker
    max_result: int  # bytes
    spread: float  # the jitter of a retry, 0 to 1
    traceback: bool  # all frames of what it raises are wanted
    url: str | None  # what the worker's command line says goes before what the app says; with its password
    namespace: str

    def __repr__(self) -> str:
        """Without URL and arguments."""
        return f"Call({self.module}:{self.path}, job={self.job!r})"


class Said(Struct, frozen=True, kw_only=True, tag="said"):
    """What the job has written of late. Times are of the system's monotonic clock, which all its processes share."""

    lines: Sequence[tuple[int, float, str, str]] = ()  # number in the attempt, from 1; time, level, text
    progress: tuple[float, float, float | None, str | None] | None = None  # time, done, of, note


class Answer(Struct, frozen=True, kw_only=True, tag="answer"):
    """What it came to: one of `failed`, `retried`, `missing`, or else success."""

    result: bytes | None = None  # JSON, or None if it is not to be stored
    failed: Failed | None = None
    retried: Retried | None = None
    missing: ErrorInfo | None = None  # the task could not be found there, nor then its policy
    traceback: str | None = None


def frame(message: Call | Said | Answer) -> bytes:
    """A message as it is sent."""
    body = msgpack.encode(message)
    return len(body).to_bytes(LENGTH, "big") + body


class Here:
    """What this process is."""

    importing = False  # a pool's process that imports a user's module, in which no worker may start
