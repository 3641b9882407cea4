"""Whether and when a job is tried again.

A pure decision: no clock, no randomness, no store. A task says what it wants by raising `Retry` or `Reject`; a
`RetryPolicy` says what becomes of everything else; `decide` makes an outcome of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

from aiotq.errors import UsageError
from aiotq.frames import describe
from aiotq.job import ErrorInfo, Failed, Retried

Duration = int | float | timedelta  # seconds, or a timedelta

LONGEST_S = 100 * 365.25 * 86_400  # a century: longer is a slip of units, and would not fit a sorted set's score


def seconds(value: object, *, name: str, minimum: float = 0.0, exclusive: bool = False) -> float:
    """`value`, a Duration, in seconds.

    name: of the parameter, for the message. minimum: the least that is allowed; exclusive: only more than that is.
    Raises UsageError for anything else, True and NaN included.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, int | float) and not isinstance(number, bool):
        fits = minimum < number if exclusive else minimum <= number
        if fits and number <= LONGEST_S:
            return float(number)
    least = f"more than {minimum:g}" if exclusive else f"{minimum:g} or more"
    raise UsageError(
        f"{name}={repr(value)[:80]} is not allowed; "
        f"pass seconds (an int or a float) or a timedelta: {least}, up to 100 years"
    )


class Retry(Exception):
    """Raised by a task to ask for another attempt. It uses one up: after the last one the job has failed.

    after: how long from now; None leaves it to the task's policy. reason: what a person reads.
    """

    def __init__(self, after: Duration | None = None, reason: str = "") -> None:
        self.after_s = None if after is None else seconds(after, name="after")
        self.reason = reason
        super().__init__(reason or "the task asked for another attempt")


class Reject(Exception):
    """Raised by a task to end its job as failed: no further attempt. reason: what a person reads."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason or "the task rejected the job")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long to wait before which attempt, and which exceptions are worth one.

    Without `delays` or `decide` the wait grows exponentially, and is drawn from its whole width ("full jitter"), so
    that jobs that failed together do not come back together. After attempt n (1 is the first):

        wait = random(0, min(cap, base * factor ** (n - 1)))        jitter=False: that maximum itself

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015), the formula named Full Jitter.

    base, cap: Durations, 0 or more. factor: 1 or more.
    delays: Durations, one for each retry, taken as they are (without jitter); the last one repeats.
    retry_on, give_up_on: exception classes; give_up_on wins. What is in neither is not retried. With the default,
        everything is, also what is no Exception (SystemExit, KeyboardInterrupt, ...).
    decide: called as decide(exception, attempt) for what those two let through; returns the Duration to wait, or
        None for no further attempt. What it raises is the failure of the job.

    How often is not said here: `retries` of the task or the call does, and always holds.
    """

    base: Duration = 1.0
    factor: float = 2.0
    cap: Duration = 600.0
    jitter: bool = True
    delays: Sequence[Duration] | None = None
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()
    decide: Callable[[BaseException, int], Duration | None] | None = None
    _base_s: float = field(init=False, repr=False, compare=False)
    _cap_s: float = field(init=False, repr=False, compare=False)
    _delays_s: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given: Any = self  # unchecked: what the annotations promise is what is looked at here
        factor, jitter, decide = given.factor, given.jitter, given.decide
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor < math.inf:
            raise UsageError(f"factor={factor!r} is not allowed; pass a number, 1 or more")
        if not isinstance(jitter, bool):
            raise UsageError(f"jitter={jitter!r} is not allowed; pass True or False")
        if decide is not None and not callable(decide):
            raise UsageError(f"decide={decide!r} is not allowed; pass a function (exception, attempt) -> delay or None")
        self._set("_base_s", seconds(self.base, name="base"))
        self._set("_cap_s", seconds(self.cap, name="cap"))
        self._set("_delays_s", _delays(self.delays))
        self._set("delays", None if self.delays is None else tuple(self.delays))
        self._set("retry_on", _classes(self.retry_on, name="retry_on"))
        self._set("give_up_on", _classes(self.give_up_on, name="give_up_on"))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # only while it is made: the class is frozen

    def delay_s(self, attempt: int, spread: float) -> float:
        """Seconds to wait after that attempt (1 is the first). spread: the jitter, 0 to 1, drawn by the caller."""
        if self._delays_s:
            return self._delays_s[min(attempt, len(self._delays_s)) - 1]
        try:
            longest = min(self._cap_s, self._base_s * self.factor ** (attempt - 1))
        except OverflowError:
            longest = self._cap_s if self._base_s else 0.0
        return longest * spread if self.jitter else longest

    def retries(self, exc: BaseException) -> bool:
        """Whether `retry_on` and `give_up_on` let it through."""
        if isinstance(exc, self.give_up_on):
            return False
        if isinstance(exc, self.retry_on):
            return True
        # A task that calls sys.exit() has failed as any other has: "every Exception" means every way to fail.
        return Exception in self.retry_on and not isinstance(exc, Exception)


def decide(
    exc: BaseException,
    *,
    attempt: int,
    retries: int,
    policy: RetryPolicy,
    spread: float,
    error: ErrorInfo,
    final: bool = False,
) -> Failed | Retried:
    """What an attempt that raised comes to.

    attempt: its number, 1 is the first. retries: how many may follow the first. spread: the jitter, 0 to 1, drawn by
    the caller. error: what `frames.describe` made of `exc`. final: another attempt would fail in the same way (the
    arguments or the result do not fit), so none is made.
    """
    if isinstance(exc, Reject):
        return Failed(error=error, reason="rejected")
    if final or attempt > retries:
        return Failed(error=error)
    if isinstance(exc, Retry):
        return _retried(policy.delay_s(attempt, spread) if exc.after_s is None else exc.after_s, error)
    try:
        delay_s = _asked(policy, exc, attempt, spread) if policy.retries(exc) else None
    except BaseException as raised:  # noqa: BLE001  user code: whatever it raises ends this job, never the worker
        return Failed(error=_of_decide(raised, error))
    return Failed(error=error) if delay_s is None else _retried(delay_s, error)


def _asked(policy: RetryPolicy, exc: BaseException, attempt: int, spread: float) -> float | None:
    """Seconds to wait as the policy has it, or None for no further attempt. Raises what its decide() raises."""
    if policy.decide is None:
        return policy.delay_s(attempt, spread)
    answer = policy.decide(exc, attempt)
    return None if answer is None else seconds(answer, name="what it returned")


def _retried(delay_s: float, error: ErrorInfo) -> Retried:
    return Retried(delay_ms=round(delay_s * 1000), error=error)


def _of_decide(raised: BaseException, error: ErrorInfo) -> ErrorInfo:
    """The error of a policy whose decide() failed: it names both, since a person has to mend both."""
    told = describe(raised)
    return replace(
        told,
        message=f"decide() of the retry policy failed: {told.message}; "
        f"it was asked about {error.type}{': ' if error.message else ''}{error.message}",
    )


def _delays(given: object) -> tuple[float, ...]:
    if given is None:
        return ()
    items = cast("Sequence[object]", given) if isinstance(given, list | tuple) else ()
    if not items:
        raise UsageError(f"delays={given!r} is not allowed; pass a list of one or more delays, such as [1, 5, 60]")
    return tuple(seconds(item, name=f"delays[{index}]") for index, item in enumerate(items))


def _classes(given: object, *, name: str) -> tuple[type[BaseException], ...]:
    items = tuple(cast("Sequence[object]", given)) if isinstance(given, list | tuple) else (given,)
    classes = tuple(item for item in items if isinstance(item, type) and issubclass(item, BaseException))
    if len(classes) < len(items):
        raise UsageError(f"{name}={given!r} is not allowed; pass a tuple of exception classes, such as (OSError,)")
    return classes
