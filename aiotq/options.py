"""What a call may say of its job: `task.options(...)`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from aiotq import checks
from aiotq.errors import UsageError
from aiotq.hooks import encoded_headers

if TYPE_CHECKING:
    from aiotq.retry import Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Checked and in milliseconds. None: the call does not say, so the task's declaration holds."""

    delay_ms: int | None = None  # due this long after it was enqueued, by the store's clock
    due_ms: int | None = None  # ... or at this instant
    expires_ms: int | None = None  # it must have started this long after it was enqueued, by the store's clock
    expires_at_ms: int | None = None  # ... or at this instant
    priority: int | None = None
    queue: str | None = None
    lifo: bool = False  # to the front of its priority
    retries: int | None = None
    timeout_ms: int | None = None
    job_id: str | None = None
    result_ttl_ms: int | None = None
    durable: bool = False  # `delay` returns once it is on disk, or on a replica
    headers: Mapping[str, str] | None = None


NO_OPTIONS = CallOptions()


def checked(
    *,
    countdown: Duration | None,
    eta: datetime | None,
    expires: Duration | datetime | None,
    priority: int | None,
    queue: str | None,
    lifo: bool,
    retries: int | None,
    timeout: Duration | None,
    job_id: str | None,
    result_ttl: Duration | None,
    durable: bool,
    headers: Mapping[str, str] | None = None,
) -> CallOptions:
    """The options of a call. Raises UsageError that names the parameter, its value and what is allowed."""
    if countdown is not None and eta is not None:
        raise UsageError(
            f"countdown={checks.shown(countdown)} and eta={checks.shown(eta)} were both given, "
            "and each says when the job is due; pass one of them"
        )
    at = expires if isinstance(expires, datetime) else None
    within = None if at is expires else expires
    return CallOptions(
        # A countdown of 0 is no delay at all: straight to the queue.
        delay_ms=None if countdown is None else checks.milliseconds("countdown", countdown, zero=True) or None,
        due_ms=None if eta is None else max(0, checks.instant_ms("eta", eta)),
        expires_ms=None if within is None else checks.milliseconds("expires", within),
        expires_at_ms=None if at is None else checks.instant_ms("expires", at),
        priority=None if priority is None else checks.priority("priority", priority),
        queue=None if queue is None else checks.queue("queue", queue),
        lifo=checks.flag("lifo", lifo),
        retries=None if retries is None else checks.whole("retries", retries, least=0),
        timeout_ms=None if timeout is None else checks.milliseconds("timeout", timeout),
        job_id=None if job_id is None else checks.job_id("job_id", job_id),
        result_ttl_ms=None if result_ttl is None else checks.milliseconds("result_ttl", result_ttl),
        durable=checks.flag("durable", durable),
        headers=_headers(headers),
    )


def changed(before: CallOptions, said: Mapping[str, Any]) -> CallOptions:
    """The options of a call with what a middleware says of it, which goes before. Raises UsageError."""
    unknown = sorted(set(said) - NAMES)
    if unknown:
        raise UsageError(f"{unknown[0]}= is no option of a call; these are: {', '.join(sorted(NAMES))}")
    given = checked(**{**_UNSAID, **said})
    return replace(before, **{field: getattr(given, field) for name in said for field in _FIELDS.get(name, (name,))})


def _headers(headers: object) -> Mapping[str, str] | None:
    if headers is None:
        return None
    if not isinstance(headers, Mapping):
        raise UsageError(f"headers={checks.shown(headers)} is not allowed; pass a dict of str to str")
    own = dict(cast("Mapping[str, str]", headers))
    encoded_headers(own)
    return own


NAMES = frozenset(inspect.signature(checked).parameters)
_UNSAID: dict[str, Any] = {**dict.fromkeys(NAMES), "lifo": False, "durable": False}
_DUE, _EXPIRES = ("delay_ms", "due_ms"), ("expires_ms", "expires_at_ms")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "countdown": _DUE,
    "eta": _DUE,
    "expires": _EXPIRES,
    "timeout": ("timeout_ms",),
    "result_ttl": ("result_ttl_ms",),
}
