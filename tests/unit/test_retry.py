from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotq.errors import Frame, UsageError
from aiotq.frames import describe
from aiotq.job import ErrorInfo, Failed, Retried
from aiotq.retry import LONGEST_S, Reject, Retry, RetryPolicy, decide, seconds

if TYPE_CHECKING:
    from aiotq.retry import Duration

EXACT = RetryPolicy(jitter=False)  # 1, 2, 4 ... s
ERROR = ErrorInfo(type="ValueError", message="no Bobs", frames=(Frame("hello.py", 9, "greet", "raise"),))


def verdict(exc: BaseException, *, policy: RetryPolicy = EXACT, **given: Any) -> Failed | Retried:
    facts: dict[str, Any] = {"attempt": 1, "retries": 3, "spread": 0.5, "error": ERROR} | given
    return decide(exc, policy=policy, **facts)


def again(delay_ms: int) -> Retried:
    return Retried(delay_ms=delay_ms, error=ERROR)


FAILED = Failed(error=ERROR)


# --- durations


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0.0), (5, 5.0), (0.25, 0.25), (timedelta(minutes=2), 120.0), (timedelta(milliseconds=1), 0.001)],
)
def test_a_duration_is_seconds_or_a_timedelta(value: Duration, expected: float) -> None:
    assert seconds(value, name="countdown") == expected


@pytest.mark.parametrize(
    "value",
    [True, False, math.nan, math.inf, -math.inf, -1, -0.001, timedelta(seconds=-1), "5", None, 2 * LONGEST_S,
     timedelta.max, 10**400, [1], 1j],
)  # fmt: skip
def test_what_is_no_duration_is_refused_by_name_and_value(value: object) -> None:
    with pytest.raises(UsageError) as caught:
        seconds(value, name="countdown")
    assert str(caught.value).startswith(f"countdown={repr(value)[:80]} is not allowed; pass seconds")
    assert "0 or more" in str(caught.value)


def test_a_least_duration_can_itself_be_allowed_or_not() -> None:
    assert seconds(0, name="countdown") == 0
    with pytest.raises(UsageError, match=r"timeout=0 is not allowed.*more than 0"):
        seconds(0, name="timeout", exclusive=True)
    assert seconds(1, name="lease", minimum=1) == 1
    with pytest.raises(UsageError, match=r"lease=0\.5 is not allowed.*1 or more"):
        seconds(0.5, name="lease", minimum=1)


# --- what a task raises


def test_a_rejected_job_has_failed_whatever_attempts_are_left() -> None:
    assert verdict(Reject("no such item")) == Failed(error=ERROR, reason="rejected")
    assert verdict(Reject(), retries=0) == Failed(error=ERROR, reason="rejected")


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (Retry(), "the task asked for another attempt"),
        (Retry(5, "busy"), "busy"),
        (Reject(), "the task rejected the job"),
        (Reject("no such item"), "no such item"),
    ],
)
def test_what_a_task_says_by_raising_is_readable(exc: Exception, text: str) -> None:
    assert str(exc) == text


@pytest.mark.parametrize(("after", "delay_ms"), [(0, 0), (5, 5_000), (0.5, 500), (timedelta(minutes=1), 60_000)])
def test_a_task_says_after_how_long_it_is_tried_again(after: Duration, delay_ms: int) -> None:
    assert verdict(Retry(after=after)) == again(delay_ms)


def test_a_task_that_names_no_delay_gets_that_of_its_policy() -> None:
    assert verdict(Retry(), attempt=3) == again(4_000)
    assert verdict(Retry(), policy=RetryPolicy(delays=[7])) == again(7_000)


def test_asking_for_another_attempt_uses_one_up() -> None:
    assert verdict(Retry(after=5), attempt=3, retries=3) == again(5_000)
    assert verdict(Retry(after=5), attempt=4, retries=3) == FAILED


def test_a_task_that_asks_is_heard_even_if_its_policy_gives_up_on_everything() -> None:
    policy = RetryPolicy(jitter=False, retry_on=(), give_up_on=(Exception,), decide=lambda *_: None)
    assert verdict(Retry(after=5), policy=policy) == again(5_000)


@pytest.mark.parametrize("after", [-1, math.nan, True, "5"])
def test_a_delay_that_a_task_asks_for_is_checked_where_it_asks(after: Any) -> None:
    with pytest.raises(UsageError, match="after="):
        Retry(after=after)


# --- how often


@pytest.mark.parametrize(
    ("attempt", "retries", "expected"),
    [(1, 0, FAILED), (1, 1, again(1_000)), (2, 1, FAILED), (3, 3, again(4_000)), (4, 3, FAILED), (9, 3, FAILED)],
)
def test_n_retries_are_at_most_n_plus_one_attempts(attempt: int, retries: int, expected: Failed | Retried) -> None:
    assert verdict(ValueError(), attempt=attempt, retries=retries) == expected


@pytest.mark.parametrize("exc", [ValueError(), Retry(after=1), SystemExit()])
def test_what_would_fail_again_in_the_same_way_is_not_tried_again(exc: BaseException) -> None:
    assert verdict(exc, final=True) == FAILED


@given(st.integers(1, 50), st.integers(0, 50), st.floats(0, 1))
def test_no_policy_gives_more_attempts_than_allowed(attempt: int, retries: int, spread: float) -> None:
    outcome = verdict(ValueError(), policy=RetryPolicy(), attempt=attempt, retries=retries, spread=spread)
    assert isinstance(outcome, Failed) is (attempt > retries)


# --- which exceptions


class Flaky(OSError):
    pass


ONLY_OS = RetryPolicy(jitter=False, retry_on=(OSError,))
NEVER_OS = RetryPolicy(jitter=False, give_up_on=(OSError,))


@pytest.mark.parametrize(
    ("policy", "exc", "expected"),
    [
        (ONLY_OS, OSError(), again(1_000)),
        (ONLY_OS, Flaky(), again(1_000)),
        (ONLY_OS, ValueError(), FAILED),
        (ONLY_OS, SystemExit(), FAILED),
        (NEVER_OS, Flaky(), FAILED),
        (NEVER_OS, ValueError(), again(1_000)),
        (RetryPolicy(jitter=False, retry_on=(OSError,), give_up_on=(Flaky,)), Flaky(), FAILED),
        (RetryPolicy(jitter=False, give_up_on=(SystemExit,)), SystemExit(), FAILED),
        (RetryPolicy(jitter=False, retry_on=()), ValueError(), FAILED),
    ],
)
def test_a_policy_names_what_is_tried_again(
    policy: RetryPolicy, exc: BaseException, expected: Failed | Retried
) -> None:
    assert verdict(exc, policy=policy) == expected


@pytest.mark.parametrize(
    "exc", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), MemoryError(),
            RecursionError(), BaseExceptionGroup("two", [SystemExit(), ValueError()])],
)  # fmt: skip
def test_whatever_a_task_raises_is_a_failure_as_any_other(exc: BaseException) -> None:
    assert verdict(exc) == again(1_000)


def test_one_class_may_be_named_without_a_tuple() -> None:
    policy = RetryPolicy(retry_on=OSError, give_up_on=[Flaky])  # pyright: ignore[reportArgumentType]
    assert (policy.retry_on, policy.give_up_on) == ((OSError,), (Flaky,))


# --- how long


@pytest.mark.parametrize(("attempt", "delay_s"), [(1, 1), (2, 2), (3, 4), (10, 512), (11, 600), (5_000, 600)])
def test_the_wait_doubles_up_to_its_cap(attempt: int, delay_s: float) -> None:
    assert EXACT.delay_s(attempt, 0.3) == delay_s


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_full_jitter_draws_from_the_whole_width(attempt: int, spread: float) -> None:
    policy = RetryPolicy(base=3, factor=1.5, cap=timedelta(minutes=1))
    longest = RetryPolicy(base=3, factor=1.5, cap=60, jitter=False).delay_s(attempt, 1)
    assert policy.delay_s(attempt, spread) == longest * spread
    assert policy.delay_s(attempt, 0) == 0
    assert 3 <= policy.delay_s(attempt, 1) == longest <= 60


@pytest.mark.parametrize("attempt", [1, 2, 5_000])
def test_a_base_of_nothing_waits_for_nothing(attempt: int) -> None:
    assert RetryPolicy(base=0).delay_s(attempt, 1) == 0


def test_listed_delays_are_taken_as_they_are_and_the_last_repeats() -> None:
    policy = RetryPolicy(delays=[1, timedelta(seconds=5), 60])
    assert [policy.delay_s(attempt, 0.1) for attempt in (1, 2, 3, 4, 99)] == [1, 5, 60, 60, 60]


def test_a_delay_is_stored_in_whole_milliseconds() -> None:
    assert verdict(ValueError(), policy=RetryPolicy(delays=[0.0126])) == again(13)


# --- decide()


def test_a_decide_function_says_how_long_or_that_it_is_over() -> None:
    def by_attempt(exc: BaseException, attempt: int) -> Duration | None:
        return attempt * 10 if isinstance(exc, OSError) else None

    policy = RetryPolicy(decide=by_attempt)
    assert verdict(OSError(), policy=policy, attempt=2) == again(20_000)
    assert verdict(ValueError(), policy=policy) == FAILED
    assert verdict(OSError(), policy=policy, attempt=4) == FAILED
    assert verdict(OSError(), policy=RetryPolicy(decide=lambda *_: timedelta(seconds=1.5))) == again(1_500)
    assert verdict(OSError(), policy=RetryPolicy(decide=lambda *_: 0)) == again(0)


def test_a_decide_function_is_asked_only_about_what_the_policy_lets_through() -> None:
    asked: list[str] = []

    def note(exc: BaseException, attempt: int) -> Duration:
        asked.append(f"{type(exc).__name__} {attempt}")
        return 1

    policy = RetryPolicy(retry_on=(OSError,), decide=note)
    verdict(ValueError(), policy=policy)
    verdict(Reject(), policy=policy)
    verdict(OSError(), policy=policy, attempt=9)
    verdict(OSError(), policy=policy, attempt=2)
    assert asked == ["OSError 2"]


@pytest.mark.parametrize("raised", [ZeroDivisionError("oops"), SystemExit("oops"), asyncio.CancelledError("oops")])
def test_an_error_in_decide_is_the_failure_of_the_job_and_names_both(raised: BaseException) -> None:
    def broken(_: BaseException, __: int) -> Duration:
        raise raised

    outcome = verdict(ValueError("no Bobs"), policy=RetryPolicy(decide=broken))
    assert isinstance(outcome, Failed)
    assert outcome.error.type == describe(raised).type
    assert outcome.error.message == "decide() of the retry policy failed: oops; it was asked about ValueError: no Bobs"
    assert [frame.function for frame in outcome.error.frames] == ["broken"]


@pytest.mark.parametrize("answer", [-1, True, "soon", math.nan, math.inf])
def test_what_decide_returns_has_to_be_a_duration(answer: Any) -> None:
    outcome = verdict(ValueError(), policy=RetryPolicy(decide=lambda *_: answer), error=ErrorInfo(type="E", message=""))
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "UsageError"
    assert f"failed: what it returned={answer!r} is not allowed" in outcome.error.message
    assert outcome.error.message.endswith("it was asked about E")


# --- declaring one


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"base": -1}, "base=-1"),
        ({"base": True}, "base=True"),
        ({"cap": math.inf}, "cap=inf"),
        ({"factor": 0.5}, "factor=0.5"),
        ({"factor": math.nan}, "factor=nan"),
        ({"factor": math.inf}, "factor=inf"),
        ({"factor": True}, "factor=True"),
        ({"factor": "2"}, "factor='2'"),
        ({"jitter": 1}, "jitter=1"),
        ({"delays": []}, "delays=[]"),
        ({"delays": 5}, "delays=5"),
        ({"delays": "15"}, "delays='15'"),
        ({"delays": [1, -5]}, "delays[1]=-5"),
        ({"retry_on": (ValueError, "OSError")}, "retry_on=(<class 'ValueError'>, 'OSError')"),
        ({"retry_on": int}, "retry_on=<class 'int'>"),
        ({"give_up_on": ValueError("no")}, "give_up_on=ValueError('no')"),
        ({"decide": 5}, "decide=5"),
    ],
)
def test_a_policy_that_cannot_be_right_is_refused_by_name_and_value(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError) as caught:
        RetryPolicy(**wrong)
    assert str(caught.value).startswith(f"{named} is not allowed; pass ")


def test_a_policy_is_a_value() -> None:
    given = [1, 5]
    policy = RetryPolicy(delays=given)
    given.append(60)
    assert policy.delay_s(3, 0) == 5
    assert policy == RetryPolicy(delays=(1, 5))
    assert len({policy, RetryPolicy(delays=[1, 5]), RetryPolicy()}) == 2
