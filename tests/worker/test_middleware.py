"""Middlewares around running, on a real server."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, Middleware, Reject, Retry, RetryPolicy, current_job
from aiotq.errors import JobCancelled, JobFailed
from aiotq.job import JobStatus
from aiotq.worker import keeper
from tests.worker.kit import Gate, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiotq.hooks import Incoming, Outgoing, RunNext, SendNext
    from tests.worker.kit import Events

AT_ONCE = RetryPolicy(delays=[0])


class Around(Middleware):
    """One made of functions."""

    def __init__(self, *, run: Callable[..., Any] | None = None, enqueue: Callable[..., Any] | None = None) -> None:
        self._run, self._enqueue = run, enqueue

    async def run(self, job: Incoming, call: RunNext) -> Any:
        return await (call(job) if self._run is None else self._run(job, call))

    async def enqueue(self, jobs: Sequence[Outgoing], send: SendNext) -> None:
        await (send(jobs) if self._enqueue is None else self._enqueue(jobs, send))


# --- around a run -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where_it_runs", ["loop", "thread"])
async def test_a_middleware_may_change_arguments_and_result_and_the_first_is_the_outermost(
    app: App, where_it_runs: str
) -> None:
    async def outer(job: Incoming, call: RunNext) -> str:
        return f"outer({await call(job.replace(args=[f'{job.args[0]}, outer']))})"

    async def inner(job: Incoming, call: RunNext) -> str:
        assert job.job == current_job()
        return f"inner({await call(job.replace(args=[f'{job.args[0]}, inner'], kwargs={'end': '!'}))})"

    app.add_middleware(Around(run=outer))
    app.add_middleware(Around(run=inner))

    async def on_the_loop(text: str, end: str = "") -> str:
        return text + end

    def in_a_thread(text: str, end: str = "") -> str:
        assert current_job().task == "greet"
        return text + end

    greet: Any = app.task(in_a_thread if where_it_runs == "thread" else on_the_loop, name="greet")
    async with app.worker():
        assert await (await greet.delay("Ada")).result(timeout=10) == "outer(inner(Ada, outer, inner!))"


async def test_what_a_middleware_raises_is_what_the_job_comes_to(app: App) -> None:
    ran: list[int] = []

    async def decide(job: Incoming, call: RunNext) -> Any:
        if job.args[0] == "refuse":
            raise Reject("not today")
        if job.args[0] == "later" and job.job.attempt == 1:
            raise Retry(after=0)
        try:
            return await call(job)
        except KeyError as error:
            return f"saved from {error}"
        except ZeroDivisionError as error:
            raise LookupError("worse") from error

    app.add_middleware(Around(run=decide))

    @app.task(retries=1, retry=AT_ONCE)
    async def work(what: str) -> str:
        ran.append(current_job().attempt)
        match what:
            case "key":
                raise KeyError(what)
            case "divide":
                raise ZeroDivisionError
            case _:
                return what

    async with app.worker():
        refused, later = await work.delay("refuse"), await work.delay("later")
        with pytest.raises(JobFailed, match="not today"):
            await refused.result(timeout=10)
        assert await later.result(timeout=10) == "later"
        assert ran == [2]
        assert await (await work.delay("key")).result(timeout=10) == "saved from 'key'"
        with pytest.raises(JobFailed, match="LookupError: worse"):
            await (await work.delay("divide")).result(timeout=10)
    assert (await refused.info()).reason == "rejected"


@pytest.mark.parametrize("where_it_runs", ["loop", "thread"])
async def test_what_the_function_raises_comes_with_its_cause(app: App, where_it_runs: str) -> None:
    seen: list[tuple[BaseException | None, BaseException | None]] = []

    async def watch(job: Incoming, call: RunNext) -> Any:
        try:
            return await call(job)
        except LookupError as error:
            seen.append((error.__cause__, error.__context__))
            raise

    app.add_middleware(Around(run=watch))

    def in_a_thread() -> None:
        try:
            raise ValueError("first")
        except ValueError as error:
            raise LookupError("then") from error

    async def on_the_loop() -> None:
        in_a_thread()

    fails: Any = app.task(in_a_thread if where_it_runs == "thread" else on_the_loop, name="fails", retries=0)
    async with app.worker():
        with pytest.raises(JobFailed, match="LookupError: then"):
            await (await fails.delay()).result(timeout=10)
    assert [(repr(cause), repr(context)) for cause, context in seen] == [("ValueError('first')", "ValueError('first')")]


async def test_the_function_may_be_run_again_within_an_attempt_or_not_at_all(app: App) -> None:
    ran: list[int] = []

    async def stubborn(job: Incoming, call: RunNext) -> Any:
        if job.args[0] == 0:
            return -1  # from a cache
        while True:
            try:
                return await call(job)
            except ConnectionError:
                continue

    app.add_middleware(Around(run=stubborn))

    @app.task
    def work(times: int) -> int:
        ran.append(times)
        if len(ran) < times:
            raise ConnectionError
        return len(ran)

    async with app.worker():
        assert await (await work.delay(0)).result(timeout=10) == -1
        assert not ran
        job = await work.delay(3)
        assert await job.result(timeout=10) == 3
    assert (await job.info()).attempt == 1


async def test_it_runs_in_the_jobs_own_context(app: App) -> None:
    var: ContextVar[str] = ContextVar("var", default="outside")
    seen: list[str] = []

    async def sets(job: Incoming, call: RunNext) -> Any:
        seen.append(var.get())
        var.set(job.job.id)
        return await call(job)

    app.add_middleware(Around(run=sets))

    @app.task
    def in_a_thread() -> str:
        return var.get()

    async with app.worker():
        jobs = [await in_a_thread.delay() for _ in range(5)]
        assert [await job.result(timeout=10) for job in jobs] == [job.id for job in jobs]
    assert seen == ["outside"] * 5
    assert var.get() == "outside"


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("where_it_runs", ["loop", "thread"])
async def test_the_timeout_of_an_attempt_is_the_middlewares_too(app: App, where: str, where_it_runs: str) -> None:
    ran: list[str] = []
    timed: list[str] = []

    async def slow(job: Incoming, call: RunNext) -> Any:
        try:
            if where == "before":
                await asyncio.Event().wait()
            value = await call(job)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            timed.append("cancelled")
            raise
        return value

    app.add_middleware(Around(run=slow))

    async def on_the_loop() -> None:
        ran.append("ran")

    def in_a_thread() -> None:
        ran.append("ran")

    work: Any = app.task(in_a_thread if where_it_runs == "thread" else on_the_loop, name="work", timeout=0.1, retries=0)
    async with app.worker():
        with pytest.raises(JobFailed, match="JobTimeout"):
            await (await work.delay()).result(timeout=10)
    assert ran == ([] if where == "before" else ["ran"])
    assert timed == ["cancelled"]


@pytest.mark.parametrize("where_it_runs", ["loop", "thread"])
async def test_a_job_that_is_cancelled_while_a_middleware_waits_is_not_started(app: App, where_it_runs: str) -> None:
    gate, ran = Gate(), list[str]()

    async def wait(job: Incoming, call: RunNext) -> Any:
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            pass  # a mistake, and no way to run what was cancelled
        return await call(job)

    app.add_middleware(Around(run=wait))

    async def on_the_loop() -> None:
        ran.append("ran")

    def in_a_thread() -> None:
        ran.append("ran")

    work: Any = app.task(in_a_thread if where_it_runs == "thread" else on_the_loop, name="work")
    async with app.worker():
        job = await work.delay()
        await gate.reached()
        assert await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(timeout=10)
    assert not ran


async def test_a_middleware_that_swallows_a_cancellation_makes_no_success_of_it(app: App) -> None:
    gate = Gate()

    async def swallow(job: Incoming, call: RunNext) -> Any:
        try:
            return await call(job)
        except asyncio.CancelledError:
            return "as if nothing had been"

    app.add_middleware(Around(run=swallow))

    @app.task
    async def wait() -> None:
        await gate.pass_through()

    async with app.worker() as worker:
        job = await wait.delay()
        await gate.reached()
        assert await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(timeout=10)
        assert worker.tally["cancelled"] == 1


async def test_a_middleware_that_blocks_the_loop_is_said_with_the_task_that_it_runs_for(
    app: App, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "STILL_BLOCKED_S", 0.8)
    over = threading.Event()

    async def block(job: Incoming, call: RunNext) -> Any:
        over.wait(20)
        return await call(job)

    app.add_middleware(Around(run=block))

    @app.task
    def resize() -> None: ...

    def end_it() -> None:
        end_s = time.monotonic() + 20
        while not events.of("blocked") and time.monotonic() < end_s:
            time.sleep(0.01)
        over.set()

    async with app.worker():
        sent = await resize.delay()
        watching = threading.Thread(target=end_it)
        watching.start()
        await sent.result(timeout=30)
        watching.join()
    assert "resize has blocked the event loop for" in events.of("blocked")[0].getMessage()


async def test_a_cancelled_job_in_a_thread_tells_the_middleware_when_the_thread_has_returned(app: App) -> None:
    begun, go_on, seen = threading.Event(), threading.Event(), list[str]()

    async def look(job: Incoming, call: RunNext) -> Any:
        try:
            return await call(job)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    app.add_middleware(Around(run=look))

    @app.task
    def hold() -> str:
        begun.set()
        go_on.wait(10)
        return "too late"

    async with app.worker() as worker:
        job = await hold.delay()
        await until(begun.is_set)
        assert await job.cancel()
        await until(lambda: next(iter(worker._life.runner.running)).why is not None)  # type: ignore[union-attr]
        assert not seen
        go_on.set()
        with pytest.raises(JobCancelled):
            await job.result(timeout=10)
    assert seen == ["cancelled"]


async def test_a_job_put_back_as_its_worker_stops_runs_again(app: App) -> None:
    gate, seen = Gate(), list[str]()

    async def look(job: Incoming, call: RunNext) -> Any:
        try:
            return await call(job)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    app.add_middleware(Around(run=look))

    @app.task
    async def wait() -> int:
        if not seen:
            await gate.pass_through()
        return current_job().attempt

    async with app.worker(grace=0):
        job = await wait.delay()
        await gate.reached()
    assert await job.status() is JobStatus.QUEUED
    async with app.worker():
        assert await job.result(timeout=10) == 1
    assert seen == ["CancelledError"]


@pytest.mark.parametrize(
    "wrong", [lambda call: call(), lambda call: call(None), lambda call: call("job")], ids=["nothing", "None", "str"]
)
async def test_a_call_without_the_job_is_told_so(app: App, wrong: Callable[..., Any]) -> None:
    async def forget(job: Incoming, call: RunNext) -> Any:
        return await wrong(call)

    app.add_middleware(Around(run=forget))

    @app.task(retries=0)
    async def work() -> None: ...

    async with app.worker():
        with pytest.raises(JobFailed, match=r"UsageError|TypeError.*job"):
            await (await work.delay()).result(timeout=10)
