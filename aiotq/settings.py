"""What an app was told, checked and in one unit each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from aiotq import checks, signing
from aiotq.errors import UsageError
from aiotq.job import DEFAULT_QUEUE
from aiotq.retry import Duration, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 1 << 20
LONGEST_LEASE_S = 3_600.0  # as the scripts take it (lib.lua)
FAILURE_TTL = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """Of one app. Bytes where the name ends in no unit."""

    namespace: str
    default_queue: str
    result_ttl_s: float  # how long the record of a job that succeeded or was cancelled is kept
    failure_ttl_s: float  # ... of one that failed
    max_payload: int  # of a job's arguments
    max_result: int
    connect_timeout_s: float  # how long `delay()` may take before it raises
    lease_s: float  # how long a worker's right to its jobs lasts without a heartbeat
    unknown_for_s: float  # how long a job of an unknown task is put back before it is a dead letter
    max_lost: int  # how often a job's worker may vanish before the job is a dead letter
    max_block_s: float  # how long a task may block the event loop before its worker gives up its lease
    signing_keys: tuple[bytes, ...] | None = field(default=None, repr=False)  # None: as the environment says
    max_len: int | Mapping[str, int] | None = None  # how many jobs may wait in each queue; in those that are named

    def longest(self, queue: str) -> int | None:
        """How many jobs may wait in that queue; None: any number."""
        return self.max_len.get(queue) if isinstance(self.max_len, Mapping) else self.max_len


def checked(
    *,
    namespace: str = "aiotq",
    default_queue: str = DEFAULT_QUEUE,
    result_ttl: Duration = 3600,
    failure_ttl: Duration = FAILURE_TTL,
    max_payload: int = MIB,
    max_result: int = MIB,
    connect_timeout: Duration = 5,
    lease: Duration = 15,
    unknown_for: Duration = 3600,
    max_lost: int = 3,
    max_block: Duration = 60,
    signing_keys: Sequence[str | bytes] | None = None,
    max_len: int | Mapping[str, int] | None = None,
) -> AppSettings:
    """The settings of `App(...)`. Raises UsageError that names the parameter."""
    return AppSettings(
        namespace=checks.namespace("namespace", namespace),
        default_queue=checks.queue("default_queue", default_queue),
        result_ttl_s=seconds(result_ttl, name="result_ttl", exclusive=True),
        failure_ttl_s=seconds(failure_ttl, name="failure_ttl", exclusive=True),
        max_payload=checks.whole("max_payload", max_payload, least=1),
        max_result=checks.whole("max_result", max_result, least=1),
        connect_timeout_s=seconds(connect_timeout, name="connect_timeout", exclusive=True),
        lease_s=lease_s(lease),
        unknown_for_s=seconds(unknown_for, name="unknown_for"),
        max_lost=checks.whole("max_lost", max_lost, least=0),
        max_block_s=seconds(max_block, name="max_block", exclusive=True),
        signing_keys=None if signing_keys is None else signing.checked("signing_keys", signing_keys),
        max_len=_lengths(max_len),
    )


def lease_s(value: object) -> float:
    """A lease in seconds. Raises UsageError for what no worker may be given."""
    found = seconds(value, name="lease", minimum=1)
    if found > LONGEST_LEASE_S:
        raise UsageError(
            f"lease={checks.shown(value)} is not allowed; an hour is the longest, since what a dead worker held waits "
            "for that; pass 1 to 3,600 seconds"
        )
    return found


def _lengths(max_len: object) -> int | Mapping[str, int] | None:
    if max_len is None:
        return None
    if isinstance(max_len, Mapping):
        each = cast("Mapping[object, object]", max_len)
        return {
            checks.queue("max_len", name): checks.whole(f"max_len[{name!r}]", most, least=1)
            for name, most in each.items()
        }
    return checks.whole("max_len", max_len, least=1)
