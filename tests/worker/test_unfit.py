"""Jobs that can't be run here: unknown tasks, newer or broken records, arguments and results that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App
from aiotq.errors import JobFailed, SerializationError
from aiotq.worker import triage
from tests.worker.kit import until

if TYPE_CHECKING:
    from aiotq import Job
    from tests.worker.kit import Events, Keys


async def failure(job: Job[Any]) -> JobFailed:
    with pytest.raises(JobFailed) as failed:
        await job.result(timeout=10)
    return failed.value


def app_of(other: App, **settings: Any) -> App:
    """Another app on the same server and namespace: other code, as of another release."""
    return App(other.source().url, namespace=other._core.settings.namespace, **settings)


@pytest.fixture
def quick_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown task's job is put back for a few milliseconds instead of seconds."""
    monkeypatch.setattr(triage, "UNKNOWN_WAITS_S", tuple(wait_s / 50 for wait_s in triage.UNKNOWN_WAITS_S))


def test_an_unknown_tasks_job_waits_from_1_to_60_s() -> None:
    assert triage.UNKNOWN_WAITS_S == (1, 2, 4, 8, 16, 32, 60)


async def send_unknown(app: App, *, name: str = "shop:send_mail") -> Job[Any]:
    """Enqueue a job of a task that the workers of `app` do not know."""
    other = app_of(app)

    async def send_mail(to: str) -> str:
        return f"sent to {to}"

    async with other:
        return app.job((await other.task(send_mail, name=name, retries=0).delay("Ada")).id)


async def test_a_job_of_an_unknown_task_is_put_back_longer_each_time_until_a_worker_knows_it(
    app: App, events: Events, quick_waits: None
) -> None:
    @app.task(name="shop:send_mails")
    async def send_mails() -> None: ...

    job = await send_unknown(app)
    async with app.worker() as worker:
        await events.line("postponed", delay_ms=80)
        assert [vars(line)["delay_ms"] for line in events.of("postponed")][:3] == [20, 40, 80]
        line = events.of("postponed")[0]
        assert line.levelname == "ERROR"
        assert "did you mean shop:send_mails?" in line.getMessage()
        assert vars(line)["job_id"] == job.id
        assert (await job.info()).attempt == 0
        assert worker.tally["retried"] == worker.tally["failed"] == 0

    newer = app_of(app)

    @newer.task(name="shop:send_mail")
    async def send_mail(to: str) -> str:
        return f"sent to {to}, by the newer release"

    async with newer, newer.worker():
        assert await newer.job(job.id).result(timeout=10) == "sent to Ada, by the newer release"
        info = await newer.job(job.id).info()
    assert info.attempt == 1  # not one was used up
    assert len(info.attempts) == 1


async def test_a_job_of_an_unknown_task_becomes_a_dead_letter_after_unknown_for(
    app: App, keys: Keys, quick_waits: None
) -> None:
    job = await send_unknown(app)
    patience = app_of(app, unknown_for=0.1)
    async with patience, patience.worker():
        failed = await failure(job)
        info = await job.info()
    assert failed.error_type == "UnknownTask"
    assert "shop:send_mail" in failed.error_message
    assert (info.reason, info.attempt) == ("unknown task", 0)
    assert await keys.client.zscore(f"{keys.prefix}dead", job.id) is not None


async def test_a_newer_record_is_put_back_untouched_and_run_by_a_worker_that_reads_it(
    app: App, keys: Keys, events: Events
) -> None:
    @app.task
    async def greet(name: str) -> str:
        return f"Hello, {name}"

    job = await greet.delay("Ada")
    record = await keys.record(job.id)
    assert record is not None
    newer = b"3" + record[1:] + b" with a field that only newer ones know"
    await keys.set_record(job.id, newer)
    async with app.worker():
        await events.line("postponed", job_id=job.id)

        async def put_back() -> bool:
            return (await keys.record(job.id) or b"")[2:6] != newer[2:6]

        await until(put_back)
        kept = await keys.record(job.id)
        assert kept is not None
        assert kept[:2] + kept[6:] == newer[:2] + newer[6:]  # but for the stamp that every putting back renews
        # As the newer worker would read it:
        await keys.set_record(job.id, b"1" + kept[1:].removesuffix(b" with a field that only newer ones know"))
        assert await job.result(timeout=10) == "Hello, Ada"


async def test_a_newer_record_becomes_a_dead_letter_with_its_bytes_after_unknown_for(app: App, keys: Keys) -> None:
    @app.task
    async def greet(name: str) -> str: ...

    job = await greet.delay("Ada")
    record = await keys.record(job.id)
    assert record is not None
    newer = b"3" + record[1:6] + b"1" + b"0" * 12 + record[19:]  # enqueued long ago
    await keys.set_record(job.id, newer)
    async with app.worker() as worker:
        await worker.run_until_empty()
        await failure(job)
        info = await job.info()
    assert info.reason == "newer record"
    assert b"Ada" in raw_of(await keys.record(job.id))


@pytest.mark.parametrize(
    "broken",
    [
        b"1w####1800000000000{",
        b'1w####1800000000000{"t":5}',
        b'1w####1800000000000{"t":"x","surprise":1}',
        b'1w####1800000000000{"t":"x","p":77}',
        b"1w####1800000000000" + b"[" * 5_000,
        b"1w####1800000000000\xff\xfe",
        b"1w####180000000000",
        b"garbage",
        b"\x00",
    ],
)
async def test_a_record_that_does_not_decode_is_a_dead_letter_at_once_with_its_bytes(
    app: App, keys: Keys, events: Events, broken: bytes
) -> None:
    ran: list[str] = []

    @app.task
    async def greet(name: str) -> str:
        ran.append(name)
        return name

    job = await greet.delay("Ada")
    record = await keys.record(job.id)
    assert record is not None
    await keys.set_record(job.id, broken.replace(b"####", record[2:6]))
    async with app.worker() as worker:
        await events.line("failed", job_id=job.id)
        await worker.run_until_empty()
        failed = await failure(job)
        info = await job.info()
        assert await (await greet.delay("Bob")).result(timeout=10) == "Bob"
    assert failed.error_type == "InvalidRecord"
    assert (info.reason, info.attempt) == ("invalid record", 0)
    assert raw_of(await keys.record(job.id)) == broken.replace(b"####", record[2:6])
    assert await keys.client.zscore(f"{keys.prefix}dead", job.id) is not None
    assert ran == ["Bob"]


async def test_garbage_in_a_line_is_put_aside_and_the_worker_goes_on(app: App, keys: Keys, events: Events) -> None:
    @app.task
    async def greet(name: str) -> str:
        return name

    await greet.options(job_id="first").delay("Ada")
    line = f"{keys.prefix}line:default:5"
    await keys.client.lpush(line, b"\x00 garbage", b"", b"a:b:c", b"default:5:AAAA:no-such-job")
    async with app.worker():
        assert await app.job("first").result(timeout=10) == "Ada"
    assert {vars(found)["key"] for found in events.of("garbage")} == {line}
    dead = list(await keys.client.zrange(f"{keys.prefix}dead", 0, -1))
    assert any(b"garbage" in member for member in dead)


async def test_garbage_in_the_schedule_is_put_aside_and_what_is_due_runs(app: App, keys: Keys, events: Events) -> None:
    @app.task
    async def greet(name: str) -> str:
        return name

    schedule = f"{keys.prefix}schedule"
    await keys.client.zadd(schedule, {b"\x00 garbage": 1, b"a:b": 2})
    due = await greet.options(countdown=0.05).delay("Ada")
    async with app.worker():
        assert await due.result(timeout=10) == "Ada"
        line = await events.line("garbage")
    assert schedule.endswith(vars(line)["key"].rpartition(":")[2])
    dead = list(await keys.client.zrange(f"{keys.prefix}dead", 0, -1))
    assert sum(b"schedule" in member for member in dead) == 2


async def test_a_key_of_the_wrong_type_is_renamed_aside_and_the_worker_goes_on(
    app: App, keys: Keys, events: Events
) -> None:
    @app.task
    async def greet(name: str) -> str:
        return name

    line = f"{keys.prefix}line:default:3"
    await keys.client.set(line, b"no list")
    await keys.client.zadd(f"{keys.prefix}lines:default", {b"3": 3})
    async with app.worker():
        assert await (await greet.delay("Ada")).result(timeout=10) == "Ada"
        assert vars(await events.line("garbage"))["key"] == line
    assert await keys.client.get(f"{keys.prefix}aside:line:default:3") == b"no list"


async def test_arguments_that_no_longer_fit_fail_without_a_retry(app: App) -> None:
    older = app_of(app)

    async def older_form(text: str, extra: int) -> None: ...

    async with older:
        surplus = await older.task(older_form, name="task").delay("x", 1)
    job = app.job(surplus.id)

    @app.task(name="task", retries=5)
    async def newer_form(text: str) -> None: ...

    async with app.worker():
        failed = await failure(job)
        info = await job.info()
    assert failed.error_type == "SerializationError"
    assert "do not fit" in failed.error_message
    assert info.attempt == 1


async def test_an_argument_of_another_type_fails_without_a_retry_and_is_named(app: App) -> None:
    older = app_of(app)

    async def older_form(number: str) -> None: ...

    async with older:
        sent = await older.task(older_form, name="task").delay("five")
    job = app.job(sent.id)

    @app.task(name="task", retries=5)
    async def newer_form(number: int) -> None: ...

    async with app.worker():
        failed = await failure(job)
    assert "number" in failed.error_message
    assert failed.attempt == 1


async def test_arguments_larger_than_this_workers_max_payload_are_not_decoded(app: App) -> None:
    @app.task(retries=5)
    async def take(text: str) -> None: ...

    job = await take.delay("x" * 2_000)
    small = app_of(app, max_payload=1_000)
    small.task(take._registered.fn, name=take.name, retries=5)
    async with small, small.worker():
        failed = await failure(job)
    assert failed.error_type == "PayloadTooLarge"
    assert (await job.info()).attempt == 0


@pytest.mark.parametrize("where", ["loop", "thread"])
@pytest.mark.parametrize("what", ["object", "nan", "deep", "surrogate"])
async def test_a_result_that_json_cannot_carry_fails_without_a_retry(app: App, what: str, where: str) -> None:
    deep: list[Any] = []
    for _ in range(2_000):
        deep = [deep]
    value = {"object": object(), "nan": float("nan"), "deep": deep, "surrogate": "\udc80"}[what]

    async def on_loop() -> Any:
        return value

    def in_thread() -> Any:
        return value

    task = app.task(on_loop if where == "loop" else in_thread, name="give", retries=5)
    async with app.worker():
        failed = await failure(await task.delay())
    assert failed.error_type == "SerializationError"
    assert failed.attempt == 1


async def test_a_result_over_max_result_fails_without_a_retry_and_is_not_stored(app: App, keys: Keys) -> None:
    small = app_of(app, max_result=1_000)

    @small.task(retries=5)
    async def give(size: int) -> str:
        return "x" * size

    async with small, small.worker():
        assert len(await (await give.delay(998)).result(timeout=10)) == 998  # 1,000 with its quotes
        job = await give.delay(999)
        failed = await failure(job)
    assert failed.error_type == "ResultTooLarge"
    assert "1,001" in failed.error_message
    assert failed.attempt == 1
    assert len(await keys.record(job.id) or b"") < 1_000


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_a_serialization_error_of_the_users_own_code_is_an_ordinary_failure(app: App, where: str) -> None:
    from aiotq import RetryPolicy

    @app.task
    async def inner(value: Any) -> None: ...

    async def on_loop() -> None:
        await inner.delay(object())

    def in_thread() -> None:
        raise SerializationError("of my own")

    task = app.task(on_loop if where == "loop" else in_thread, name="outer", retries=2, retry=RetryPolicy(delays=[0]))
    async with app.worker():
        failed = await failure(await task.delay())
    assert failed.error_type == "SerializationError"
    assert failed.attempt == 3


def raw_of(record: bytes | None) -> bytes:
    """The bytes that a dead letter keeps of what could not be read."""
    from aiotq import record as records

    assert record is not None
    raw = records.decode("any", record).doc.raw
    assert raw is not None
    return raw
