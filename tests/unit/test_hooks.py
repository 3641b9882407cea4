"""Middlewares and observers as values: what is taken, what is refused, and what a broken observer costs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, Middleware, Observer, hooks, options
from aiotq.errors import UsageError
from aiotq.hooks import Attempt, Hooks, Outgoing, encoded_headers
from aiotq.options import NO_OPTIONS, CallOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiotq.hooks import Incoming, Outcome, RunNext, SendNext

JOB = Outgoing(id="j1", task="t", queue="default", priority=5, args=(1,), kwargs={})
ATTEMPT = Attempt(id="j1", task="t", queue="default", number=1, fence=1, worker="w")


class Runs(Middleware):
    async def run(self, job: Incoming, call: RunNext) -> Any:
        return await call(job)


class Sends(Middleware):
    async def enqueue(self, jobs: Sequence[Outgoing], send: SendNext) -> None:
        await send(jobs)


class Starts(Observer):
    def started(self, attempt: Attempt) -> None: ...


class Both(Runs, Observer):
    def enqueued(self, job: Outgoing, *, existed: bool) -> None: ...


def test_what_nobody_overrides_is_asked_of_nobody() -> None:
    made = Hooks()
    runs, sends, starts = Runs(), Sends(), Starts()
    for hook in (Middleware(), Observer(), runs):
        made.add(hook)
    assert (made.running, made.enqueuing, made.outgoing, made.watched) == ((runs,), (), False, False)
    made.add(sends)
    assert (made.running, made.enqueuing, made.outgoing) == ((runs,), (sends,), True)
    made.add(starts)
    assert made.watched
    assert made.watching["started"] == (starts,)
    assert made.watching["ended"] == ()


def test_one_that_is_both_counts_as_both_wherever_it_is_given_and_once() -> None:
    both = Both()
    for app in (App(middleware=[both]), App(observers=[both]), App()):
        app.add_middleware(both)
        app.add_observer(both)
        assert app._core.hooks.middleware == app._core.hooks.observers == (both,)
        assert app._core.hooks.outgoing


@pytest.mark.parametrize("given", [Runs, object(), None, "middleware", len])
def test_what_is_no_hook_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="no middleware and no observer"):
        App(middleware=[given])
    with pytest.raises(UsageError, match="no middleware and no observer"):
        App().add_observer(given)


def test_a_class_in_place_of_an_instance_is_told_how_to_be_one() -> None:
    with pytest.raises(UsageError, match=r"pass an instance: Runs\(\)"):
        App(middleware=[Runs])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("given", [Runs(), None, "x"])
def test_what_is_no_list_of_hooks_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r"middleware=.*pass a list"):
        App(middleware=given)


def test_a_plain_run_and_an_async_observer_are_refused() -> None:
    class PlainRun(Middleware):
        def run(self, job: Incoming, call: RunNext) -> Any: ...

    class AsyncWatch(Observer):
        async def started(self, attempt: Attempt) -> None: ...  # type: ignore[override]

    with pytest.raises(UsageError, match=r"PlainRun.run\(\) is a plain def, and an async def was expected"):
        App(middleware=[PlainRun()])
    with pytest.raises(UsageError, match=r"AsyncWatch.started\(\) is an async def, and a plain def was expected"):
        App(observers=[AsyncWatch()])


@pytest.mark.parametrize("error", [ValueError("no\ud800"), SystemExit(3), StopIteration(), GeneratorExit()])
def test_a_failing_observer_is_said_once_a_kind_and_stops_no_other(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    told: list[str] = []

    class Broken(Observer):
        def started(self, attempt: Attempt) -> None:
            raise error

        def ended(self, attempt: Attempt, outcome: Outcome) -> None:
            raise KeyError(attempt.id)

    class Whole(Observer):
        def started(self, attempt: Attempt) -> None:
            told.append(attempt.id)

    made = Hooks()
    made.add(Broken())
    made.add(Whole())
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            made.tell("started", ATTEMPT)
            made.tell("ended", ATTEMPT, None)
    assert told == ["j1"] * 3
    assert [(record.name, vars(record)["hook"]) for record in caplog.records] == [
        ("aiotq.hooks", "started"),
        ("aiotq.hooks", "ended"),
    ]


# --- what they may change -----------------------------------------------------------------------------------------


def test_an_outgoing_job_is_changed_by_making_another() -> None:
    changed = JOB.replace(args=[2], kwargs={"x": 1}).with_headers({"a": "1"}).with_headers({"b": "2"})
    changed = changed.options(queue="mail", priority=0, job_id="mine", countdown=None)
    assert (changed.args, changed.kwargs, changed.headers) == ((2,), {"x": 1}, {"a": "1", "b": "2"})
    assert (changed.queue, changed.priority, changed.id) == ("mail", 0, "mine")
    assert JOB.replace(headers={}) == JOB
    with pytest.raises(AttributeError):
        JOB.args = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("before", "said", "after"),
    [
        ({"delay_ms": 5}, {"eta": datetime(2030, 1, 1, tzinfo=UTC)}, {"due_ms": 1_893_456_000_000}),
        ({"due_ms": 5}, {"countdown": 1}, {"delay_ms": 1_000}),
        ({"expires_at_ms": 5}, {"expires": timedelta(seconds=2)}, {"expires_ms": 2_000}),
        ({"queue": "a", "retries": 1}, {"queue": "b"}, {"queue": "b", "retries": 1}),
        ({"timeout_ms": 1}, {"timeout": 2, "lifo": True}, {"timeout_ms": 2_000, "lifo": True}),
    ],
)
def test_what_a_middleware_says_goes_before_what_the_call_said(
    before: dict[str, Any], said: Mapping[str, Any], after: dict[str, Any]
) -> None:
    assert options.changed(CallOptions(**before), said) == CallOptions(**after)


@pytest.mark.parametrize("said", [{"retires": 1}, {"priority": 10}, {"countdown": 1, "eta": datetime.now(UTC)}])
def test_options_that_cannot_be_right_are_refused(said: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError):
        options.changed(NO_OPTIONS, said)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({1: "x"}, "pass str for both"),
        ({"x": 1}, "pass str for both"),
        ({str(n): "" for n in range(17)}, "17 headers are too many"),
        ({"x": "y" * 4_096}, "the headers take 4,104 bytes"),
        ({"x": "\ud800"}, "no text"),
        ([("a", "b")], "pass a dict"),
        ("a", "pass a dict"),
    ],
)
def test_headers_that_a_record_does_not_carry_are_refused(headers: Any, why: str) -> None:
    app = App()

    @app.task
    async def nothing() -> None: ...

    with pytest.raises(UsageError, match=why):
        nothing.options(headers=headers)


def test_headers_are_kept_as_they_were_when_they_were_given() -> None:
    app = App()

    @app.task
    async def nothing() -> None: ...

    given = {str(n): "é" for n in range(16)}
    call = nothing.options(headers=given)
    given.clear()
    assert call.s().of.new_job(b"[]", b"{}").body.count("é".encode()) == 16
    assert encoded_headers({}) == b""


def test_the_names_of_the_module_are_these() -> None:
    assert set(hooks.__all__) == {
        "Attempt", "Incoming", "Middleware", "Observer", "Outgoing",
        "Outcome", "Succeeded", "Failed", "Retried", "Cancelled", "Returned",
    }  # fmt: skip
