"""What callers are told when a batch fails, or is late: each of his own job."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from aiotq.errors import QueueFull, StoreFull, StoreUnavailable, StoreUnusable
from aiotq.sender import OPEN_AGAIN_S, Sender, told
from aiotq.store.contract import MAX_ENQUEUE, Enqueued
from tests.unit.outgoing import URL, FakeStore, a_job, sender, store, unavailable

__all__ = ["sender", "store"]  # fixtures


async def test_a_batch_that_fails_fails_each_job_with_an_error_of_its_own(store: FakeStore, sender: Sender) -> None:
    store.errors.append(unavailable(sent=True))
    one, two = await asyncio.gather(sender.send(a_job("1")), sender.send(a_job("2")), return_exceptions=True)
    assert isinstance(one, StoreUnavailable)
    assert isinstance(two, StoreUnavailable)
    assert one is not two
    assert str(one) == "enqueue: no answer; job 1 may have been queued; repeating it with the same job_id is safe"
    assert str(two).startswith("enqueue: no answer; job 2 may have been queued")
    assert (one.sent, one.verb, one.url) == (True, "enqueue", URL)


async def test_an_error_of_a_job_that_was_not_sent_says_that_it_was_not_queued(
    store: FakeStore, sender: Sender
) -> None:
    store.errors.append(unavailable(sent=False))
    with pytest.raises(StoreUnavailable, match="the job was not queued") as raised:
        await sender.send(a_job("1"))
    assert not raised.value.sent


async def test_the_jobs_after_a_batch_that_failed_are_sent(store: FakeStore, sender: Sender) -> None:
    store.errors.append(unavailable(sent=True))
    store.gate.clear()
    first = sender.send(a_job("1"))
    await store.arrived.wait()
    second = sender.send(a_job("2"))
    store.gate.set()
    with pytest.raises(StoreUnavailable):
        await first
    assert await second is Enqueued.NEW


async def test_a_job_that_does_not_fit_its_queue_fails_alone(store: FakeStore, sender: Sender) -> None:
    store.full = {"2"}
    one, two, three = await asyncio.gather(*[sender.send(a_job(name)) for name in "123"], return_exceptions=True)
    assert (one, three) == (Enqueued.NEW, Enqueued.NEW)
    assert isinstance(two, QueueFull)
    assert two.job_id == "2"
    assert store.batches == [["1", "2", "3"]]


async def test_a_caller_that_went_away_misses_no_refusal(store: FakeStore, sender: Sender) -> None:
    store.full = {"1"}
    store.gate.clear()
    first, second = sender.send(a_job("1")), sender.send(a_job("2"))
    await store.arrived.wait()
    first.cancel()
    store.gate.set()
    assert await second is Enqueued.NEW


async def test_of_many_those_after_one_that_does_not_fit_are_tried(store: FakeStore, sender: Sender) -> None:
    store.full = {"1", "500"}
    answers = await sender.send_many(a_job(str(i)) for i in range(2 * MAX_ENQUEUE))
    assert [i for i, answer in enumerate(answers) if isinstance(answer, QueueFull)] == [1, 500]
    assert answers.count(Enqueued.NEW) == 2 * MAX_ENQUEUE - 2


async def test_many_that_fail_midway_do_not_count_those_that_did_not_fit(store: FakeStore, sender: Sender) -> None:
    store.full = {"1", "2"}
    store.errors += [None, StoreFull("full", verb="enqueue", url=URL, code="OOM")]
    with pytest.raises(StoreFull) as raised:
        await sender.send_many([a_job(str(i)) for i in range(2 * MAX_ENQUEUE)])
    assert raised.value.__notes__ == [f"{MAX_ENQUEUE - 2} jobs of this enqueue_many() were queued before that"]


def test_a_copied_error_keeps_its_class_and_its_facts() -> None:
    error = StoreFull("full", verb="enqueue", url=URL, code="OOM")
    error.__cause__ = OSError("why")
    own: Any = told(error, job_id="1")
    assert type(own) is StoreFull
    assert own is not error
    assert (str(own), own.code, own.url, own.__cause__) == ("full", "OOM", URL, error.__cause__)


async def test_a_mistake_of_ours_reaches_each_caller_as_it_is(store: FakeStore, sender: Sender) -> None:
    mistake = ExceptionGroup("two things", [ValueError("one"), ValueError("other")])
    store.errors += [cast("Any", mistake)]
    async with asyncio.timeout(5):
        for answer in await asyncio.gather(sender.send(a_job("1")), sender.send(a_job("2")), return_exceptions=True):
            assert answer is mistake


async def test_many_jobs_that_fail_midway_say_how_many_were_queued(store: FakeStore, sender: Sender) -> None:
    store.errors += [None, StoreFull("full", verb="enqueue", url=URL, code="OOM")]
    with pytest.raises(StoreFull) as raised:
        await sender.send_many([a_job(str(i)) for i in range(2 * MAX_ENQUEUE + 1)])
    assert [len(batch) for batch in store.batches] == [MAX_ENQUEUE, MAX_ENQUEUE]
    assert raised.value.__notes__ == [f"{MAX_ENQUEUE} jobs of this enqueue_many() were queued before that"]


async def test_when_its_task_is_cancelled_nobody_is_left_waiting(store: FakeStore, sender: Sender) -> None:
    store.gate.clear()
    first = sender.send(a_job("1"))
    await store.arrived.wait()
    second = sender.send(a_job("2"))
    [task] = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    task.cancel()
    with pytest.raises(StoreUnavailable, match="may have been queued"):
        await first
    with pytest.raises(StoreUnavailable, match="was not queued"):
        await second


# --- the deadline -------------------------------------------------------------------------------------------------


class Time:
    """The loop's clock, for a sender that shall believe that time has passed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.now_s = loop.time()
        monkeypatch.setattr(loop, "time", lambda: self.now_s)


async def test_the_store_gets_what_is_left_of_the_oldest_jobs_time(
    store: FakeStore, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time(monkeypatch)
    store.gate.clear()
    first = sender.send(a_job("1"))
    await store.arrived.wait()
    second = sender.send(a_job("2"))
    time.now_s += 3
    third = sender.send(a_job("3"))
    store.gate.set()
    await asyncio.gather(first, second, third)
    assert store.batches == [["1"], ["2", "3"]]
    assert store.timeouts == pytest.approx([5, 2])


async def test_a_job_that_has_waited_too_long_behind_others_is_not_sent(
    store: FakeStore, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time(monkeypatch)
    store.gate.clear()
    first = sender.send(a_job("1"))
    await store.arrived.wait()
    second = sender.send(a_job("2"))
    time.now_s += 4.5
    third = sender.send(a_job("3"))
    store.gate.set()
    await asyncio.gather(first, third)
    with pytest.raises(StoreUnavailable, match=r"no answer to earlier jobs for 4\.5 s.*the job was not queued"):
        await second
    assert store.batches == [["1"], ["3"]]
    assert store.timeouts == pytest.approx([5, 5])


# --- the first look -----------------------------------------------------------------------------------------------


async def test_the_server_is_looked_at_once(store: FakeStore, sender: Sender) -> None:
    await sender.send(a_job("1"))
    await sender.send(a_job("2"))
    await sender.send_many([a_job("3")])
    assert store.opened == 1


async def test_a_server_that_does_not_answer_is_asked_again(store: FakeStore, sender: Sender) -> None:
    store.refusals += [unavailable(sent=False), unavailable(sent=True)]
    assert await sender.send(a_job("1")) is Enqueued.NEW
    assert store.opened == 3


async def test_a_server_that_never_answers_is_given_up_in_time(store: FakeStore) -> None:
    store.refusals += [unavailable(sent=False)] * 100
    hasty = Sender(store, timeout_s=2.5 * OPEN_AGAIN_S)  # pyright: ignore[reportArgumentType]
    with pytest.raises(StoreUnavailable, match="the job was not queued"):
        await hasty.send(a_job("1"))
    assert 1 < store.opened < 5


async def test_a_server_that_cannot_serve_is_asked_once(store: FakeStore, sender: Sender) -> None:
    store.refusals.append(StoreUnusable("too old", verb="connect", url=URL))
    with pytest.raises(StoreUnusable, match="too old"):
        await sender.send(a_job("1"))
    assert (store.opened, store.batches) == (1, [])


async def test_a_try_that_was_cut_off_does_not_hide_that_nobody_listens() -> None:
    class Refuses(FakeStore):
        async def open(self, *, timeout_s: float) -> None:
            self.opened += 1
            if self.opened == 1:
                raise StoreUnavailable("refused", verb="connect", url=URL, sent=False, refused=True)
            await asyncio.sleep(timeout_s)
            raise unavailable(sent=False)

    store = Refuses()
    sender = Sender(store, timeout_s=5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(StoreUnavailable, match="refused"):
        await sender.open(asyncio.get_running_loop().time() + 5, refused_s=1.5 * OPEN_AGAIN_S)
    assert store.opened == 2
