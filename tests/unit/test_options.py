from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from aiotq import App
from aiotq.errors import UsageError

app = App("redis://nowhere.invalid")


@app.task
async def greet(name: str) -> str:
    return name


def options(**given: Any) -> Any:
    return greet.options(**given)._options


NAIVE = datetime(2030, 1, 1, 12)  # noqa: DTZ001  that is what is refused
AWARE = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parameter", "value", "allowed"),
    [
        ("countdown", -1, "0 or more"),
        ("countdown", timedelta(seconds=-1), "0 or more"),
        ("countdown", "60", "seconds"),
        ("countdown", True, "seconds"),
        ("countdown", float("nan"), "0 or more"),
        ("countdown", float("inf"), "100 years"),
        ("countdown", 10**400, "100 years"),
        ("eta", NAIVE, "aware"),
        ("eta", 1_900_000_000, "aware datetime"),
        ("eta", AWARE.date(), "aware datetime"),
        ("expires", 0, "more than 0"),
        ("expires", -5, "more than 0"),
        ("expires", NAIVE, "aware"),
        ("expires", "soon", "seconds"),
        ("priority", 10, "0 (first) to 9 (last)"),
        ("priority", -1, "0 (first) to 9 (last)"),
        ("priority", "5", "0 (first) to 9 (last)"),
        ("priority", True, "0 (first) to 9 (last)"),
        ("priority", 5.0, "0 (first) to 9 (last)"),
        ("queue", "", "1 to 64"),
        ("queue", "a b", "1 to 64"),
        ("queue", "mail:fast", "1 to 64"),
        ("queue", "mail\n", "1 to 64"),
        ("queue", "ä", "1 to 64"),
        ("queue", "q" * 65, "1 to 64"),
        ("queue", 7, "1 to 64"),
        ("lifo", 1, "True or False"),
        ("retries", -1, "0 or more"),
        ("retries", 2.5, "0 or more"),
        ("retries", True, "0 or more"),
        ("timeout", 0, "more than 0"),
        ("timeout", -1, "more than 0"),
        ("job_id", "", "1 to 128"),
        ("job_id", "a/b", "1 to 128"),
        ("job_id", "j" * 129, "1 to 128"),
        ("job_id", 7, "1 to 128"),
        ("result_ttl", 0, "more than 0"),
    ],
)
def test_a_wrong_option_is_refused_at_once_with_its_name_its_value_and_what_is_allowed(
    parameter: str, value: Any, allowed: str
) -> None:
    with pytest.raises(UsageError) as raised:
        options(**{parameter: value})
    message = str(raised.value)
    shown = value.isoformat() if isinstance(value, datetime) else repr(value)
    assert message.startswith(f"{parameter}={shown[:70]}")
    assert allowed in message
    assert len(message) < 300


def test_a_usage_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="priority=10"):
        options(priority=10)


def test_countdown_and_eta_together_are_refused() -> None:
    with pytest.raises(UsageError, match=r"countdown=60 and eta=.* were both given.*pass one of them"):
        options(countdown=60, eta=AWARE)


def test_an_unknown_option_is_a_type_error_of_the_call() -> None:
    with pytest.raises(TypeError, match="count_down"):
        options(count_down=5)


@pytest.mark.parametrize(("value", "ms"), [(60, 60_000), (0.5, 500), (timedelta(minutes=2), 120_000), (0.0001, 1)])
def test_a_duration_is_seconds_or_a_timedelta(value: Any, ms: int) -> None:
    assert options(countdown=value).delay_ms == ms
    assert options(timeout=value).timeout_ms == ms
    assert options(result_ttl=value).result_ttl_ms == ms
    assert options(expires=value).expires_ms == ms


def test_a_countdown_of_nothing_is_no_delay() -> None:
    assert options(countdown=0).delay_ms is None


def test_an_instant_is_an_aware_datetime_of_any_zone() -> None:
    elsewhere = AWARE.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert options(eta=elsewhere).due_ms == options(eta=AWARE).due_ms == int(AWARE.timestamp()) * 1000
    assert options(expires=elsewhere).expires_at_ms == int(AWARE.timestamp()) * 1000


def test_an_instant_keeps_its_milliseconds() -> None:
    assert options(eta=AWARE.replace(microsecond=123_999)).due_ms == int(AWARE.timestamp()) * 1000 + 123


def test_what_is_allowed_is_kept() -> None:
    given = options(priority=0, queue="A-z_0.9", lifo=True, retries=0, job_id="a:b.c-d_E9")
    assert (given.priority, given.queue, given.lifo, given.retries) == (0, "A-z_0.9", True, 0)
    assert given.job_id == "a:b.c-d_E9"


def test_options_leave_the_task_as_it_is() -> None:
    before = greet._options
    greet.options(priority=0, queue="other")
    assert greet._options is before
