"""What a worker counts of its attempts: how many, how long, of which task, and what failed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import RetryPolicy
from aiotq.job import Cancelled, ErrorInfo, Failed, Outcome, Retried, Returned, Succeeded
from aiotq.store.tallies import BOUNDS_MS
from aiotq.worker import meter as meters
from aiotq.worker.held import Held
from aiotq.worker.meter import MAX_FAILING, MAX_TASKS, MAX_UNKNOWN, OTHER, Meter
from tests.unit.records import NOW_MS, a_record
from tests.worker.kit import Gate, within
from tests.worker.kit import ended as all_ended

if TYPE_CHECKING:
    from aiotq import App, Worker

NOW_S = 1_000.0


class _Task:
    """As much of a registered task as is counted."""

    def __init__(self, name: str) -> None:
        self.name = name


def held(
    outcome: Outcome | None = None,
    *,
    task: str | None = "shop:send",
    queue: str = "mail",
    waited_ms: int = 0,
    took_s: float = 0.0,
    job_id: str = "j1",
    **changes: Any,
) -> Held:
    """A job whose attempt began `took_s` before NOW_S."""
    made = Held(f"{queue}:5:AAAA:{job_id}", queue, "5", "AAAA", job_id, b"", 0, False, 1, 1, 0.0)
    made.record, made.outcome = a_record(), outcome
    made.task = None if task is None else _Task(task)  # type: ignore[assignment]
    made.started_s, made.started_ms = NOW_S - took_s, NOW_MS + waited_ms
    made.handle = changes.pop("handle", object())
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def counted(meter: Meter) -> dict[str, int]:
    """What is not 0."""
    return {name: number for name, number in meter.counters().items() if number}


def error(kind: str = "ValueError", message: str = "no Bobs") -> ErrorInfo:
    return ErrorInfo(type=kind, message=message)


def test_an_attempt_is_counted_as_it_starts_by_how_long_it_had_waited() -> None:
    meter = Meter()

    for waited_ms in (-5, 0, 1, 2, 3, 300_000, 300_001):
        meter.started(held(waited_ms=waited_ms))

    last = len(BOUNDS_MS)
    assert counted(meter) == {"started": 7, "w0": 3, "w1": 1, "w2": 1, f"w{last - 1}": 1, f"w{last}": 1, "wt": 600_007}


def test_a_delayed_job_waits_from_its_due_time_on() -> None:
    meter = Meter()

    meter.started(held(waited_ms=5_010, record=a_record(delay_ms=5_000)))
    meter.started(held(waited_ms=5_010, record=a_record(due_ms=NOW_MS + 5_000)))

    assert counted(meter) == {"started": 2, "w3": 2, "wt": 20}


def test_each_outcome_is_counted_by_kind_queue_task_and_duration() -> None:
    meter = Meter()

    meter.decided([held(Succeeded(result=None), took_s=0.003), held(Succeeded(result=None), took_s=0.004)], NOW_S)
    meter.decided(
        [
            held(Failed(error=error()), took_s=0.1905),
            held(Retried(delay_ms=1, error=error()), took_s=0.0905),
            held(Cancelled(), task="shop:get", queue="other", took_s=0.0905),
            held(Returned(), took_s=0.0905),
            held(Succeeded(result=None), task="shop:get", took_s=1.5),
        ],
        NOW_S,
    )

    assert counted(meter) == {
        "succeeded": 3,
        "failed": 1,
        "retried": 1,
        "cancelled": 1,
        "returned": 1,
        "r2": 2,
        "r6": 3,
        "r7": 1,
        "r10": 1,
        "rt": 1_969,
        "q:mail": 4,
        "q:other": 1,
        "t:s:shop:send": 2,
        "t:f:shop:send": 1,
        "t:r:shop:send": 1,
        "tm:shop:send": 288,
        "t:s:shop:get": 1,
        "t:c:shop:get": 1,
        "tm:shop:get": 1_590,
    }


def test_what_was_decided_without_an_attempt_took_no_time() -> None:
    meter = Meter()

    meter.decided([held(Cancelled(reason="expired"), started_ms=None, handle=None)], NOW_S)
    meter.decided([held(Returned(), started_ms=None, handle=None)], NOW_S)  # put back before it had started

    assert counted(meter) == {"cancelled": 1, "q:mail": 1, "t:c:shop:send": 1}


def test_what_counted_for_nothing_is_taken_off() -> None:
    meter = Meter()
    jobs = [held(outcome) for outcome in (Succeeded(result=None), Failed(error=error()), Cancelled(), Returned())]
    jobs.append(held(Retried(delay_ms=1, error=error(), counts=False)))
    meter.decided(jobs, NOW_S)

    for job in jobs:
        meter.void(job)

    assert set(counted(meter)) == {"r0"}


def test_names_are_bounded_and_those_that_anybody_makes_up_take_no_room_from_others() -> None:
    meter = Meter()

    for number in range(MAX_UNKNOWN + 30):
        record = a_record(task=f"made.up:{number}")
        meter.decided([held(Failed(error=error()), task=None, record=record)], NOW_S)
    for number in range(MAX_TASKS):
        meter.decided([held(Succeeded(result=None), task=f"ours:{number}")], NOW_S)

    found = meter.counters()
    assert found[f"t:f:{OTHER}"] == 30
    assert sum(name.startswith("t:s:ours") for name in found) == MAX_TASKS - MAX_UNKNOWN - 1
    assert sum(number for name, number in found.items() if name.startswith("t:s:")) == MAX_TASKS
    assert len(found) < 1_200


def test_failures_are_kept_by_task_and_error_with_the_last_of_them() -> None:
    meter = Meter()
    again = Retried(delay_ms=1, error=error(message="first"))
    meter.decided([held(again, job_id="j1"), held(Failed(error=error(message="x" * 999)), job_id="j2")], NOW_S)
    meter.decided([held(Retried(delay_ms=1, error=error("UnknownTask"), counts=False), task=None)], NOW_S)

    first, second = meter.take_failures(10)

    assert (first.task, first.error, first.count, first.job_id, first.dead) == (
        "shop:send",
        "ValueError",
        2,
        "j2",
        True,
    )
    assert first.message == "x" * 200
    assert (second.error, second.count, second.dead) == ("UnknownTask", 0, False), "it has not failed"
    assert not meter.has_failures


def test_failures_that_could_not_be_told_are_taken_again_with_those_that_came_since() -> None:
    meter = Meter()
    meter.decided([held(Failed(error=error()), job_id="j1"), held(Failed(error=error("KeyError")))], NOW_S)
    taken = meter.take_failures(10)
    meter.decided([held(Retried(delay_ms=1, error=error(message="later")), job_id="j3")], NOW_S)

    meter.put_back(taken)

    both = {one.error: (one.count, one.job_id, one.message) for one in meter.take_failures(10)}
    assert both == {"ValueError": (2, "j3", "later"), "KeyError": (1, "j1", "no Bobs")}


def test_kinds_of_failures_are_bounded() -> None:
    meter = Meter()

    meter.decided([held(Failed(error=error(f"E{number}"))) for number in range(MAX_FAILING + 7)], NOW_S)

    taken = meter.take_failures(999)
    assert len(taken) == MAX_FAILING + 1
    assert (taken[-1].task, taken[-1].count) == (OTHER, 7)


def test_text_of_failures_can_be_stored_whatever_it_is() -> None:
    meter = Meter()

    meter.decided([held(Failed(error=error("a\udcff", "b\udcff\0")))], NOW_S)

    [told] = meter.take_failures(1)
    assert (told.error, told.message) == ("a\\udcff", "b\\udcff\0")


def test_it_may_be_read_while_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "MAX_TASKS", 5_000)
    meter, stop = Meter(), threading.Event()
    seen, failed = [0], [0]

    def read() -> None:
        while not stop.is_set():
            seen.append(meter.counters()["succeeded"])
            failed.extend(one.count for one in meter.take_failures(3))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(3_000):
            jobs = [held(Succeeded(result=None), task=f"t{number}"), held(Failed(error=error(f"E{number % 7}")))]
            meter.decided(jobs, NOW_S)
    finally:
        stop.set()
        reader.join()
    failed += [one.count for one in meter.take_failures(10)]
    assert seen == sorted(seen)
    assert (counted(meter)["succeeded"], sum(failed)) == (3_000, 3_000)


# --- in a worker


def counters_of(worker: Worker) -> dict[str, int]:
    return {name: number for name, number in worker._report.meter.counters().items() if number}


async def test_a_workers_jobs_are_counted(app: App) -> None:
    gate = Gate()

    @app.task(name="well")
    async def well() -> None: ...

    @app.task(name="badly", retries=1, retry=RetryPolicy(delays=[0.001]))
    async def badly() -> None:
        raise ValueError("no Bobs")

    @app.task(name="endless")
    async def endless() -> None:
        await gate.pass_through()

    async with app.worker() as worker:
        sent = [await well.delay(), await badly.delay(), await endless.delay()]
        await gate.reached()
        await all_ended(sent[0], sent[1])
        assert counters_of(worker)["started"] == 4
        await sent[2].cancel()
        await all_ended(*sent)
    found = counters_of(worker)
    kinds = {name: found[name] for name in ("started", "succeeded", "failed", "retried", "cancelled")}
    assert kinds == {"started": 4, "succeeded": 1, "failed": 1, "retried": 1, "cancelled": 1}
    assert (found["q:default"], found["t:f:badly"], found["t:r:badly"], found["t:c:endless"]) == (3, 1, 1, 1)
    assert sum(number for name, number in found.items() if name[0] == "w" and name[1:].isdigit()) == 4
    assert sum(number for name, number in found.items() if name[0] == "r" and name[1:].isdigit()) == 4


async def test_the_message_of_a_failure_is_without_what_nobody_shall_read(app: App, keys: Any) -> None:
    @app.task(name="swear", retries=0, sensitive={"password"})
    async def swear(password: str) -> None:
        raise ValueError(f"no password {password!r}")

    async with app.worker(), within():
        await all_ended(await swear.delay("canary-1234"))
    [told] = (await keys.client.hgetall(f"{keys.prefix}failures")).items()
    assert told[0] == b"swear\0ValueError"
    assert b"no password '***'" in told[1]


async def test_jobs_that_are_put_back_count_as_returned(app: App) -> None:
    gate = Gate()

    @app.task(name="endless")
    async def endless() -> None:
        await gate.pass_through()

    async with app.worker(grace=0.01) as worker:
        sent = await endless.delay()
        await gate.reached()
    assert counters_of(worker)["returned"] == 1
    await sent.cancel()
