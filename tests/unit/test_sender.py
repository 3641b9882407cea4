from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from aiotq.errors import QueueFull, StoreFull, StoreUnavailable, StoreUnusable
from aiotq.sender import HALF_LEAST, OPEN_AGAIN_S, Sender, batches, told
from aiotq.store.contract import MAX_BATCH_BYTES, MAX_ENQUEUE, Enqueued, NewJob

if TYPE_CHECKING:
    from collections.abc import Sequence

URL = "redis://here"


def a_job(job_id: str, size: int = 0) -> NewJob:
    return NewJob(job_id=job_id, line="default:5", generation="aaaa", head=b"1waaaa", body=b"x" * size)


def queue_full(job_id: str) -> QueueFull:
    return QueueFull(queue="default", max_len=3, job_id=job_id, verb="enqueue", url=URL)


class FakeStore:
    """Remembers its batches. While `gate` is shut, an answer waits for it. errors: one a batch, None for none."""

    url = URL

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches: list[list[str]] = []
        self.timeouts: list[float] = []
        self.errors: list[Exception | None] = []
        self.refusals: list[Exception] = []  # of `open`
        self.opened = 0
        self.known: set[str] = set()
        self.full: set[str] = set()  # ids that do not fit their queue
        self.arrived = asyncio.Event()  # a batch is here

    async def open(self, *, timeout_s: float) -> None:
        self.opened += 1
        if self.refusals:
            raise self.refusals.pop(0)

    async def enqueue(self, jobs: Sequence[NewJob], *, timeout_s: float) -> list[Enqueued | QueueFull]:
        self.batches.append([job.job_id for job in jobs])
        self.timeouts.append(timeout_s)
        self.arrived.set()
        await self.gate.wait()
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        answers: list[Enqueued | QueueFull] = []
        for job in jobs:
            if job.job_id in self.full:
                answers.append(queue_full(job.job_id))
                continue
            answers.append(Enqueued.EXISTED if job.job_id in self.known else Enqueued.NEW)
            self.known.add(job.job_id)
        return answers


@pytest.fixture
async def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def sender(store: FakeStore) -> Sender:
    return Sender(store, timeout_s=5)  # pyright: ignore[reportArgumentType]


async def test_a_lone_job_is_sent_at_once(store: FakeStore, sender: Sender) -> None:
    assert await sender.send(a_job("1")) is Enqueued.NEW
    assert store.batches == [["1"]]


async def test_what_is_sent_in_one_step_of_the_loop_goes_together_in_its_order(
    store: FakeStore, sender: Sender
) -> None:
    await asyncio.gather(*[sender.send(a_job(str(i))) for i in range(10)])
    assert store.batches == [[str(i) for i in range(10)]]


async def test_while_one_batch_is_in_flight_the_next_one_gathers(store: FakeStore, sender: Sender) -> None:
    store.gate.clear()
    first = sender.send(a_job("1"))
    await store.arrived.wait()
    others = [sender.send(a_job(name)) for name in "234"]
    await asyncio.sleep(0)
    assert store.batches == [["1"]]
    store.gate.set()
    await asyncio.gather(first, *others)
    assert store.batches == [["1"], ["2", "3", "4"]]


async def test_callers_that_send_one_after_the_other_share_each_round_trip(store: FakeStore, sender: Sender) -> None:
    async def caller(name: str) -> None:
        for i in range(5):
            await sender.send(a_job(f"{name}{i}"))

    await asyncio.gather(*[caller(name) for name in "abc"])
    assert store.batches == [[f"{name}{i}" for name in "abc"] for i in range(5)]


async def test_a_cancelled_caller_takes_its_unsent_job_back(store: FakeStore, sender: Sender) -> None:
    store.gate.clear()
    first = sender.send(a_job("1"))
    await store.arrived.wait()
    second, third = sender.send(a_job("2")), sender.send(a_job("3"))
    second.cancel()
    store.gate.set()
    await asyncio.gather(first, third)
    assert store.batches == [["1"], ["3"]]


async def test_a_cancelled_caller_whose_job_is_in_flight_disturbs_nobody(store: FakeStore, sender: Sender) -> None:
    store.gate.clear()
    first, second = sender.send(a_job("1")), sender.send(a_job("2"))
    await store.arrived.wait()
    first.cancel()
    store.gate.set()
    assert await second is Enqueued.NEW


async def test_each_job_gets_its_own_answer(store: FakeStore, sender: Sender) -> None:
    answers = await asyncio.gather(*[sender.send(a_job(name)) for name in "aba"])
    assert answers == [Enqueued.NEW, Enqueued.NEW, Enqueued.EXISTED]


async def test_the_sending_task_ends_when_nothing_is_left(sender: Sender) -> None:
    await sender.send(a_job("1"))
    await sender.drain()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_draining_waits_for_what_was_handed_over(store: FakeStore, sender: Sender) -> None:
    store.gate.clear()
    jobs = [sender.send(a_job("1"))]
    await store.arrived.wait()
    jobs.append(sender.send(a_job("2")))
    draining = asyncio.create_task(sender.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    store.gate.set()
    await draining
    assert all(job.done() for job in jobs)


async def test_many_that_wait_go_out_beside_a_batch_in_flight_and_share_the_rest_with_it(
    store: FakeStore, sender: Sender
) -> None:
    await sender.send(a_job("0"))
    store.gate.clear()
    store.arrived.clear()
    jobs = [sender.send(a_job("1"))]
    await store.arrived.wait()
    store.arrived.clear()
    jobs += [sender.send(a_job(f"2-{i}")) for i in range(HALF_LEAST - 1)]
    await asyncio.sleep(0)
    assert len(store.batches) == 2, "a few wait for the answer to those before them"
    jobs += [sender.send(a_job(f"3-{i}")) for i in range(3 * HALF_LEAST)]
    await store.arrived.wait()
    assert [len(batch) for batch in store.batches] == [1, 1, 2 * HALF_LEAST], "half of all that were on their way"
    jobs += [sender.send(a_job(f"4-{i}")) for i in range(HALF_LEAST)]
    await asyncio.sleep(0)
    assert len(store.batches) == 3, "never more than two at once"
    store.gate.set()
    await asyncio.gather(*jobs)
    names = [job_id for batch in store.batches for job_id in batch]
    assert names == sorted(names, key=lambda name: name.partition("-")[0]), "each group in the order of its calls"


async def test_what_is_handed_over_as_the_last_batch_lands_is_sent(store: FakeStore, sender: Sender) -> None:
    sent: list[asyncio.Future[Enqueued]] = []
    for turns in range(6):  # whichever step the sending task is in
        await sender.send(a_job(f"{turns}a"))
        for _ in range(turns):
            await asyncio.sleep(0)
        sent.append(sender.send(a_job(f"{turns}b")))
        async with asyncio.timeout(5):
            await sent[-1]
    assert len(store.known) == 12


# --- batches ------------------------------------------------------------------------------------------------------


def test_a_batch_holds_at_most_so_many_jobs() -> None:
    jobs = [a_job(str(i)) for i in range(2 * MAX_ENQUEUE + 1)]
    found = list(batches(jobs))
    assert [len(batch) for batch in found] == [MAX_ENQUEUE, MAX_ENQUEUE, 1]
    assert [job for batch in found for job in batch] == jobs


def test_a_batch_holds_at_most_so_many_bytes() -> None:
    third = MAX_BATCH_BYTES // 3 - 200
    assert [len(batch) for batch in batches([a_job("x", third)] * 7)] == [3, 3, 1]


def test_a_job_of_any_size_goes_alone() -> None:
    sizes = [0, 3 * MAX_BATCH_BYTES, 0, 0]
    assert [len(batch) for batch in batches([a_job("x", size) for size in sizes])] == [1, 1, 2]


async def test_jobs_handed_over_one_by_one_go_out_in_batches_of_the_same_bounds(
    store: FakeStore, sender: Sender
) -> None:
    sizes = [0] * (MAX_ENQUEUE + 1) + [MAX_BATCH_BYTES - 200, 0, 0, 2 * MAX_BATCH_BYTES]
    await asyncio.gather(*[sender.send(a_job(str(i), size)) for i, size in enumerate(sizes)])
    assert [len(batch) for batch in store.batches] == [MAX_ENQUEUE, 1, 1, 2, 1]


async def test_many_jobs_go_out_in_order_and_get_their_answers_in_order(store: FakeStore, sender: Sender) -> None:
    store.known.add("1")
    answers = await sender.send_many(a_job(str(i)) for i in range(1200))
    assert len(answers) == 1200
    assert [i for i, answer in enumerate(answers) if answer is Enqueued.EXISTED] == [1]
    assert [name for batch in store.batches for name in batch] == [str(i) for i in range(1200)]


# --- errors -------------------------------------------------------------------------------------------------------


def unavailable(*, sent: bool) -> StoreUnavailable:
    return StoreUnavailable("enqueue: no answer", verb="enqueue", url=URL, sent=sent)


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
