"""Middlewares around enqueuing and running, on a real server."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, Middleware, Observer, Reject, Retry, RetryPolicy, current_job
from aiotq.errors import JobCancelled, JobFailed, QueueFull, StoreUnavailable, UsageError
from aiotq.job import JobStatus
from aiotq.worker import keeper
from tests.worker.kit import Gate, until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiotq.hooks import Incoming, Outgoing, RunNext, SendNext
    from tests.worker.kit import Events, Keys

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


# --- around enqueuing ---------------------------------------------------------------------------------------------


async def test_a_middleware_may_change_arguments_options_and_headers(app: App, keys: Keys) -> None:
    async def change(jobs: Sequence[Outgoing], send: SendNext) -> None:
        changed = [
            job.replace(args=[f"{job.args[0]}!"]).with_headers({"tenant": "7"}).options(queue="mail", priority=1)
            for job in jobs
        ]
        assert list(await send(changed)) == [False] * len(jobs)

    app.add_middleware(Around(enqueue=change))

    @app.task
    async def greet(name: str) -> list[Any]:
        job = current_job()
        return [name, job.queue, job.priority, job.headers]

    jobs = [await greet.options(headers={"a": "1"}).delay("Ada")]
    jobs += await app.enqueue_many([greet.s("Bob"), greet.options(retries=0).s("Cat")])
    async with app.worker(["mail"]):
        found = [await job.result(timeout=10) for job in jobs]
    headers = [{"a": "1", "tenant": "7"}, {"tenant": "7"}, {"tenant": "7"}]
    assert found == [[f"{name}!", "mail", 1, sent] for name, sent in zip(("Ada", "Bob", "Cat"), headers, strict=True)]
    assert (await jobs[0].info()).headers == headers[0]
    assert (await keys.record(jobs[0].id) or b"")[:2] == b"2s"


async def test_headers_of_a_call_reach_the_job_without_any_middleware_and_stay_through_retries(app: App) -> None:
    @app.task(retries=1, retry=AT_ONCE)
    async def greet() -> dict[str, str]:
        if current_job().attempt == 1:
            raise ValueError
        return dict(current_job().headers)

    job = await greet.options(headers={"tenant": "7", "name": "Zoë"}).delay()
    many = await app.enqueue_many([greet.options(headers={"n": "1"}).s(), greet.s()])
    async with app.worker():
        assert await job.result(timeout=10) == {"tenant": "7", "name": "Zoë"}
        assert [await each.result(timeout=10) for each in many] == [{"n": "1"}, {}]
    assert (await job.info()).headers == {"tenant": "7", "name": "Zoë"}


async def test_arguments_that_do_not_fit_their_annotations_fail_the_job_and_not_the_enqueuing(app: App) -> None:
    seen: list[Any] = []

    async def look(jobs: Sequence[Outgoing], send: SendNext) -> None:
        seen.extend(job.args for job in jobs)
        assert "secret" not in repr(jobs)
        await send(jobs)

    app.add_middleware(Around(enqueue=look))

    @app.task(retries=0)
    async def work(number: int) -> None: ...

    wrong: Any = "secret"
    jobs = [await work.delay(wrong), *await app.enqueue_many([work.s(wrong)])]
    async with app.worker():
        for job in jobs:
            with pytest.raises(JobFailed, match="SerializationError"):
                await job.result(timeout=10)
    assert seen == [("secret",), ("secret",)]


async def test_a_refused_job_is_not_queued_and_its_caller_gets_what_was_raised(app: App, keys: Keys) -> None:
    async def refuse(jobs: Sequence[Outgoing], send: SendNext) -> None:
        if any(job.args == ("no",) for job in jobs):
            raise PermissionError("not on a Friday")
        await send(jobs)

    app.add_middleware(Around(enqueue=refuse))

    @app.task
    async def greet(name: str) -> None: ...

    with pytest.raises(PermissionError, match="Friday"):
        await greet.delay("no")
    with pytest.raises(PermissionError, match="Friday"):
        await app.enqueue_many([greet.s("yes"), greet.s("no")])
    assert not await keys.client.keys(f"*{keys.prefix[1:-2]}*")


async def test_arguments_are_still_bound_and_encoded_at_the_callers_line(app: App) -> None:
    app.add_middleware(Around(enqueue=lambda jobs, send: send(jobs)))

    @app.task
    async def greet(name: str) -> None: ...

    with pytest.raises(TypeError, match="missing a required argument: 'name'"):
        greet.delay()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"JSON|sent to a worker"):
        greet.delay(object())  # type: ignore[arg-type]
    with pytest.warns(RuntimeWarning, match=r"greet.delay\(...\) was never awaited: nothing was queued"):
        greet.delay("Ada")  # type: ignore[unused-coroutine]


async def test_arguments_that_a_middleware_spoils_raise_where_it_sends_them(app: App) -> None:
    app.add_middleware(Around(enqueue=lambda jobs, send: send([job.replace(args=[]) for job in jobs])))

    @app.task
    async def greet(name: str) -> None: ...

    with pytest.raises(TypeError, match="missing a required argument: 'name'"):
        await greet.delay("Ada")


async def test_delay_sync_goes_through_them_too_with_the_callers_context(app: App, valkey: Any, namespace: str) -> None:
    var: ContextVar[str] = ContextVar("var", default="")
    sender = App(valkey.url, namespace=namespace)

    async def tag(jobs: Sequence[Outgoing], send: SendNext) -> None:
        await send([job.with_headers({"var": var.get()}) for job in jobs])

    sender.add_middleware(Around(enqueue=tag))

    @app.task(name="tagged")
    async def tagged() -> str:
        return current_job().headers["var"]

    @sender.task(name="tagged")
    async def outside() -> str: ...

    def in_a_thread() -> Any:
        var.set("mine")
        return outside.delay_sync()

    sent = await asyncio.to_thread(in_a_thread)
    async with app.worker():
        assert await app.job(sent.id).result(timeout=10) == "mine"


async def test_no_number_of_jobs_but_the_one_that_was_given_is_sent(app: App) -> None:
    app.add_middleware(Around(enqueue=lambda jobs, send: send([*jobs, *jobs])))

    @app.task
    async def work() -> None: ...

    with pytest.raises(UsageError, match="sent 2 jobs on and was given 1"):
        await work.delay()


async def test_jobs_that_are_not_sent_on_are_no_success(app: App) -> None:
    async def forget(jobs: Sequence[Outgoing], send: SendNext) -> None: ...

    app.add_middleware(Around(enqueue=forget))

    @app.task
    async def work() -> None: ...

    with pytest.raises(UsageError, match="without having sent the jobs on"):
        await work.delay()


async def test_an_error_of_the_store_that_a_middleware_swallows_is_raised_all_the_same() -> None:
    async def swallow(jobs: Sequence[Outgoing], send: SendNext) -> None:
        try:
            await send(jobs)
        except StoreUnavailable:
            pass

    nowhere = App("redis://127.0.0.1:9", connect_timeout=0.2, middleware=[Around(enqueue=swallow)])

    @nowhere.task
    async def work() -> None: ...

    with pytest.raises(StoreUnavailable, match="was not queued"):
        await work.delay()


async def test_what_is_raised_after_the_store_has_the_job_says_so(app: App) -> None:
    async def late(jobs: Sequence[Outgoing], send: SendNext) -> None:
        await send(jobs)
        raise OSError("the audit log is full")

    app.add_middleware(Around(enqueue=late))

    @app.task
    async def work() -> int:
        return 1

    with pytest.raises(OSError, match="audit") as raised:
        await work.options(job_id="mine").delay()
    assert "it is queued" in raised.value.__notes__[0]
    async with app.worker():
        assert await app.job("mine").result(timeout=10) == 1


async def test_an_id_may_be_given_and_one_that_exists_is_told(app: App) -> None:
    told: list[tuple[str, bool]] = []

    class Watch(Observer):
        def enqueued(self, job: Outgoing, *, existed: bool) -> None:
            told.append((job.id, existed))

    async def name(jobs: Sequence[Outgoing], send: SendNext) -> None:
        await send([job.options(job_id=f"once-{job.args[0]}") for job in jobs])

    app.add_middleware(Around(enqueue=name))
    app.add_observer(Watch())

    @app.task
    async def work(number: int) -> int:
        return number

    first, again = await work.delay(1), await work.delay(1)
    assert (first.id, first.existed, again.id, again.existed) == ("once-1", False, "once-1", True)
    many = await app.enqueue_many([work.s(1), work.s(2)])
    assert [job.existed for job in many] == [True, False]
    assert told == [("once-1", False), ("once-1", True), ("once-1", True), ("once-2", False)]
    async with app.worker():
        assert await many[1].result(timeout=10) == 2
        assert await first.result(timeout=10) == 1


async def test_of_many_jobs_those_that_did_not_fit_are_named_and_not_told(valkey: Any, app: App) -> None:
    told: list[str] = []

    class Watch(Observer):
        def enqueued(self, job: Outgoing, *, existed: bool) -> None:
            told.append(job.args[0])

    bounded = App(valkey.url, namespace=app._core.settings.namespace, max_len=2, observers=[Watch()])

    @bounded.task(name="work")
    async def work(name: str) -> None: ...

    @app.task(name="work")
    async def same(name: str) -> None: ...

    async with bounded:
        with pytest.raises(QueueFull) as full:
            await bounded.enqueue_many([work.s(name) for name in "abcd"])
    assert full.value.refused == (2, 3)
    assert told == ["a", "b"]
    async with app.worker() as worker:
        await worker.run_until_empty()


async def test_a_callers_cancellation_reaches_a_middleware_and_nothing_is_queued(app: App, keys: Keys) -> None:
    gate = Gate()

    async def wait(jobs: Sequence[Outgoing], send: SendNext) -> None:
        await gate.pass_through()
        await send(jobs)

    app.add_middleware(Around(enqueue=wait))

    @app.task
    async def work() -> None: ...

    calling = asyncio.ensure_future(work.delay())
    await gate.reached()
    calling.cancel()
    async with within():
        with pytest.raises(asyncio.CancelledError):
            await calling
    assert not await keys.client.keys(f"*{keys.prefix[1:-2]}*")
