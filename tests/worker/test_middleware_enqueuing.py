"""Middlewares around enqueuing, on a real server."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, Observer, current_job
from aiotq.errors import JobFailed, QueueFull, StoreUnavailable, UsageError
from tests.worker.kit import Gate, within
from tests.worker.test_middleware import AT_ONCE, Around

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.hooks import Outgoing, SendNext
    from tests.worker.kit import Keys


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
