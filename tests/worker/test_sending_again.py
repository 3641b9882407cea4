"""A middleware that sends jobs again: none is lost, none doubled, and each is told once, as it was the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, Observer
from aiotq.errors import QueueFull, StoreUnavailable
from aiotq.store.redis import RedisStore
from tests.worker.test_middleware import Around

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.hooks import Outgoing, SendNext


class Watch(Observer):
    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []

    def enqueued(self, job: Outgoing, *, existed: bool) -> None:
        self.told.append((job.args[0], existed))


async def test_what_did_not_fit_is_sent_again_with_the_others_once_there_is_room(valkey: Any, app: App) -> None:
    ran: list[str] = []

    @app.task(name="work")
    async def here(name: str) -> None:
        ran.append(name)

    async def waits_for_room(jobs: Sequence[Outgoing], send: SendNext) -> None:
        with pytest.raises(QueueFull) as full:
            await send(jobs)
        assert full.value.refused == (2, 3)
        async with app.worker() as worker:
            await worker.run_until_empty()
        assert await send(jobs) == (False,) * 4

    watch, namespace = Watch(), app._core.settings.namespace
    around = Around(enqueue=waits_for_room)
    async with App(valkey.url, namespace=namespace, max_len=2, observers=[watch], middleware=[around]) as bounded:

        @bounded.task(name="work")
        async def work(name: str) -> None: ...

        calls = [work.options(job_id=f"id-{name}").s(name) for name in "abcd"]
        jobs = await bounded.enqueue_many(calls)

    async with app.worker() as worker:
        await worker.run_until_empty()
    assert [job.existed for job in jobs] == [False] * 4
    assert sorted(ran) == ["a", "b", "c", "d"]
    assert watch.told == [(name, False) for name in "abcd"]


@pytest.mark.parametrize("changes", [False, True])
async def test_what_the_store_had_taken_without_a_word_is_this_calls_own(
    app: App, monkeypatch: pytest.MonkeyPatch, *, changes: bool
) -> None:
    real, lost = RedisStore.enqueue, list[bool]()

    async def loses_its_answer(store: RedisStore, *given: Any, **named: Any) -> Any:
        answers = await real(store, *given, **named)
        if not lost:
            lost.append(True)
            raise StoreUnavailable("no answer", verb="enqueue", url="x", sent=True)
        return answers

    async def again(jobs: Sequence[Outgoing], send: SendNext) -> None:
        for attempt in range(2):
            given = [job.with_headers({"attempt": str(attempt)}) for job in jobs] if changes else jobs
            try:
                await send(given)
            except StoreUnavailable:
                continue

    watch = Watch()
    app.add_middleware(Around(enqueue=again))
    app.add_observer(watch)
    ran: list[str] = []

    @app.task
    async def work(name: str) -> None:
        ran.append(name)

    monkeypatch.setattr(RedisStore, "enqueue", loses_its_answer)
    job = await work.options(job_id="mine").delay("a")
    other = await work.options(job_id="mine").delay("b")

    assert (job.existed, other.existed) == (False, True)
    async with app.worker() as worker:
        await worker.run_until_empty()
    assert (ran, watch.told) == (["a"], [("a", False), ("b", True)])


async def test_two_of_one_id_in_one_call_are_one_job_and_the_second_existed(app: App) -> None:
    async def twice(jobs: Sequence[Outgoing], send: SendNext) -> None:
        assert await send(jobs) == await send(jobs)

    app.add_middleware(Around(enqueue=twice))

    @app.task
    async def work(name: str) -> None: ...

    one = work.options(job_id="one")
    assert [job.existed for job in await app.enqueue_many([one.s("a"), one.s("b")])] == [False, True]
    async with app.worker() as worker:
        await worker.run_until_empty()


async def test_an_error_after_the_store_has_taken_the_jobs_says_so(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    async def once_too_often(jobs: Sequence[Outgoing], send: SendNext) -> None:
        await send(jobs)

        async def away(*_given: Any, **_named: Any) -> Any:
            raise StoreUnavailable("no answer", verb="enqueue", url="x", sent=False)

        monkeypatch.setattr(RedisStore, "enqueue", away)
        await send(jobs)

    app.add_middleware(Around(enqueue=once_too_often))

    @app.task
    async def work() -> int:
        return 1

    with pytest.raises(StoreUnavailable) as raised:
        await work.options(job_id="mine").delay()
    monkeypatch.undo()
    assert any("it is queued" in note for note in raised.value.__notes__)
    async with app.worker():
        assert await app.job("mine").result(timeout=10) == 1
