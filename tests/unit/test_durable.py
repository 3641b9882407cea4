"""How a server makes a job safe, by what it says of itself; and the sender that waits for it, on a store that plays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiotq.durable import DurableSender
from aiotq.errors import DurabilityUnknown, NotDurable, QueueFull, StoreFull, StoreUnavailable
from aiotq.store.contract import MAX_ENQUEUE, Enqueued, NewJob
from aiotq.store.durable import Means, choose, why_not

if TYPE_CHECKING:
    from collections.abc import Sequence

URL = "redis://here"
REPLICA = {"slave0": "ip=127.0.0.1,port=1,state=online,offset=14,lag=0"}
SYNCING = {"slave0": "ip=127.0.0.1,port=1,state=wait_bgsave,offset=0,lag=0"}


def server(
    version: str, *, kind: str = "redis", aof: bool = True, replica: dict[str, str] | None = None
) -> dict[str, str]:
    """What INFO says."""
    named = {"server_name": "valkey", "valkey_version": version} if kind == "valkey" else {}
    return {"redis_version": "7.2.4" if named else version, "aof_enabled": str(int(aof)), **named, **(replica or {})}


@pytest.mark.parametrize(
    ("info", "policy", "built_in", "means"),
    [
        (server("9.1.2", kind="valkey"), "no", True, Means.FSYNC),
        (server("7.0.15"), "no", True, Means.FSYNC),
        (server("6.2.7"), "no", True, "6.2.7"),
        (server("9.1.2", kind="valkey"), "everysec", False, Means.WATCH),
        (server("7.2.4", kind="valkey"), "always", False, Means.WATCH),
        (server("7.4.1"), "everysec", False, Means.WATCH),
        (server("6.2.7"), "always", False, Means.WATCH),
        (server("8.0.0"), "everysec", False, Means.WAITAOF),
        (server("8.2.1"), None, False, Means.WAITAOF),
        (server("10.0.0"), "always", False, Means.WAITAOF),
        (server("8.0.0"), "no", False, "appendfsync no"),
        (server("9.1.2", kind="valkey"), "no", False, "appendfsync no"),
        (server("9.1.2", kind="valkey"), "pauses", False, "no-appendfsync-on-rewrite yes"),
        (server("7.0.15"), "pauses", False, "no-appendfsync-on-rewrite yes"),
        (server("8.0.0"), "pauses", False, Means.WAITAOF),
        (server("9.1.2", kind="valkey"), None, False, r"+config|get"),
        (server("7.4.1"), None, False, r"+config|get"),
        (server("7.0.15", aof=False), "everysec", False, "no replica"),
        (server("8.0.0", aof=False, replica=SYNCING), "everysec", False, "no replica"),
        (server("8.0.0", aof=False, replica=REPLICA), "everysec", False, Means.WAIT),
        (server("6.2.7", replica=REPLICA), "no", False, Means.WAIT),
        (server("9.1.2", kind="valkey", replica=REPLICA), None, False, Means.WAIT),
        (server("9.1.2", kind="valkey", replica=REPLICA), "everysec", False, Means.WATCH),
    ],
)
def test_how_a_server_makes_a_job_safe(
    info: dict[str, str], policy: str | None, *, built_in: bool, means: Means | str
) -> None:
    found = choose(info, policy=policy, built_in=built_in)
    if isinstance(means, Means):
        assert found is means
    else:
        assert found is None
        assert means in why_not(info, policy=policy, built_in=built_in)


# --- the sender


def a_job(job_id: str) -> NewJob:
    return NewJob(job_id=job_id, line="default:5", generation="aaaa", head=b"1waaaa", body=b"")


def lost() -> StoreUnavailable:
    return StoreUnavailable("no answer", verb="enqueue", url=URL, sent=True)


class FakeStore:
    """Remembers what it was sent. While `gate` is shut, nothing is safe."""

    url = URL

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.link = 1
        self.batches: list[list[str]] = []
        self.asked: list[int] = []
        self.known: set[str] = set()
        self.full: set[str] = set()  # ids that do not fit their queue
        self.refusals: list[Exception] = []  # of enqueue_durably
        self.errors: list[Exception] = []  # of settled
        self.waits = asyncio.Event()  # somebody waits for something to be safe

    async def open(self, *, timeout_s: float | None = None) -> None:
        pass

    async def enqueue_durably(
        self, jobs: Sequence[NewJob], *, timeout_s: float | None = None
    ) -> tuple[list[Enqueued | QueueFull], int]:
        if self.refusals:
            raise self.refusals.pop(0)
        self.batches.append([job.job_id for job in jobs])
        answers: list[Enqueued | QueueFull] = []
        for job in jobs:
            if job.job_id in self.full:
                answers.append(QueueFull(queue="default", max_len=3, job_id=job.job_id, verb="enqueue", url=URL))
            else:
                answers.append(Enqueued.SAME if job.job_id in self.known else Enqueued.NEW)
                self.known.add(job.job_id)
        return answers, self.link

    async def settled(self, link: int, *, timeout_s: float) -> None:
        self.asked.append(link)
        self.waits.set()
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
async def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def sender(store: FakeStore) -> DurableSender:
    return DurableSender(store, timeout_s=5)  # pyright: ignore[reportArgumentType]


@pytest.fixture
async def hasty(store: FakeStore) -> DurableSender:
    return DurableSender(store, timeout_s=0.3)  # pyright: ignore[reportArgumentType]


async def test_a_caller_goes_on_once_the_job_is_safe(store: FakeStore, sender: DurableSender) -> None:
    store.gate.clear()
    sending = asyncio.create_task(sender.send(a_job("1")))
    await store.waits.wait()
    assert store.batches == [["1"]]
    assert not sending.done()
    store.gate.set()
    assert await sending is Enqueued.NEW


async def test_after_a_broken_connection_the_job_is_enqueued_again_and_asked_about_there(
    store: FakeStore, sender: DurableSender
) -> None:
    store.gate.clear()
    sending = asyncio.create_task(sender.send(a_job("1")))
    await store.waits.wait()
    store.errors.append(lost())
    store.link = 2
    store.gate.set()
    assert await sending is Enqueued.NEW, "the first answer tells whether it was there before"
    assert store.batches == [["1"], ["1"]]
    assert store.asked == [1, 2]


async def test_what_is_not_known_in_time_is_said_to_be_queued_and_safe_to_repeat(
    store: FakeStore, hasty: DurableSender
) -> None:
    store.gate.clear()
    with pytest.raises(
        DurabilityUnknown, match=r"job 1 is queued at .* repeating it with the same job_id is safe"
    ) as caught:
        await hasty.send(a_job("1"))
    assert (caught.value.sent, caught.value.job_id, caught.value.verb, caught.value.url) == (True, "1", "enqueue", URL)
    store.gate.set()
    assert await hasty.send(a_job("1")) is Enqueued.SAME


async def test_a_server_that_breaks_again_and_again_is_given_up_in_time(store: FakeStore, hasty: DurableSender) -> None:
    store.errors += [lost() for _ in range(1_000)]
    with pytest.raises(DurabilityUnknown, match="no answer"):
        await hasty.send(a_job("1"))


async def test_a_refusal_after_the_job_was_queued_does_not_hide_that_it_is(
    store: FakeStore, sender: DurableSender
) -> None:
    store.gate.clear()
    sending = asyncio.create_task(sender.send(a_job("1")))
    await store.waits.wait()
    store.errors.append(lost())
    store.refusals = [StoreFull("full", verb="enqueue", url=URL, code="OOM")]
    store.gate.set()
    with pytest.raises(DurabilityUnknown, match="is queued"):
        await sending


@pytest.mark.parametrize(
    "refusal", [NotDurable("no", verb="enqueue", url=URL), StoreFull("full", verb="enqueue", url=URL, code="OOM")]
)
async def test_a_refusal_before_it_is_queued_is_told_as_it_is(
    store: FakeStore, sender: DurableSender, refusal: Exception
) -> None:
    store.refusals = [refusal]
    with pytest.raises(type(refusal)):
        await sender.send(a_job("1"))
    assert not store.asked


async def test_many_jobs_go_out_in_batches_and_are_asked_about_once(store: FakeStore, sender: DurableSender) -> None:
    count = 2 * MAX_ENQUEUE + 1
    assert await sender.send_many(a_job(str(number)) for number in range(count)) == [Enqueued.NEW] * count
    assert [len(batch) for batch in store.batches] == [MAX_ENQUEUE, MAX_ENQUEUE, 1]
    assert store.asked == [1]
    assert await sender.send_many([]) == []


async def test_many_jobs_of_a_connection_that_broke_are_all_enqueued_again(
    store: FakeStore, sender: DurableSender, hasty: DurableSender
) -> None:
    store.errors.append(lost())
    assert await sender.send_many(a_job(name) for name in "ab") == [Enqueued.NEW] * 2
    assert store.batches == [["a", "b"], ["a", "b"]]
    store.gate.clear()
    with pytest.raises(DurabilityUnknown, match="all of these jobs are queued"):
        await hasty.send_many([a_job("c")])


async def test_a_job_that_does_not_fit_its_queue_is_not_waited_for(store: FakeStore, sender: DurableSender) -> None:
    store.full = {"1"}
    with pytest.raises(QueueFull):
        await sender.send(a_job("1"))
    answers = await sender.send_many(a_job(name) for name in "11")
    assert [type(answer) for answer in answers] == [QueueFull, QueueFull]
    assert store.asked == []


async def test_of_many_only_those_that_fitted_are_enqueued_again(store: FakeStore, sender: DurableSender) -> None:
    store.full = {"b"}
    store.errors.append(lost())
    first, second, third = await sender.send_many(a_job(name) for name in "abc")
    assert (first, third) == (Enqueued.NEW, Enqueued.NEW)
    assert isinstance(second, QueueFull)
    assert store.batches == [["a", "b", "c"], ["a", "c"]]


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_job_that_fits_no_more_where_another_server_answers_is_said_to_be_queued(
    store: FakeStore, sender: DurableSender, *, many: bool
) -> None:
    store.gate.clear()
    store.errors.append(lost())
    sending = asyncio.create_task(sender.send_many([a_job("1")]) if many else sender.send(a_job("1")))
    await store.waits.wait()
    store.full = {"1"}
    store.gate.set()
    with pytest.raises(DurabilityUnknown, match=r"(is|are) queued"):
        await sending


async def test_draining_waits_for_those_whose_job_is_not_safe_yet(store: FakeStore, sender: DurableSender) -> None:
    store.gate.clear()
    sending = asyncio.create_task(sender.send(a_job("1")))
    await store.waits.wait()
    draining = asyncio.create_task(sender.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    store.gate.set()
    await draining
    assert await sending is Enqueued.NEW


async def test_a_caller_that_goes_away_holds_nobody_up(store: FakeStore, sender: DurableSender) -> None:
    store.gate.clear()
    sending = asyncio.create_task(sender.send(a_job("1")))
    await store.waits.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    async with asyncio.timeout(1):
        await sender.drain()
