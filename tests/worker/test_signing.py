"""An app with signing keys: what none of them has signed is not decoded, not run, and no result."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, RetryPolicy
from aiotq.errors import BadSignature, JobFailed
from aiotq.job import Cancelled
from aiotq.store.contract import Claimed
from aiotq.worker.held import claimed
from aiotq.worker.settings import WorkerSettings
from aiotq.worker.triage import triage
from tests.worker.kit import until

if TYPE_CHECKING:
    from aiotq import Job
    from tests.worker.kit import Events, Keys

KEY, OLD, FOREIGN = "k" * 32, "o" * 32, "f" * 32


def with_keys(app: App, *keys: str, **settings: Any) -> App:
    """An app on the same server and namespace; without keys it neither signs nor checks."""
    return App(
        app.source().url, namespace=app._core.settings.namespace, signing_keys=list(keys) if keys else None, **settings
    )


class Shop:
    """A task, registered with an app, and what it was run with."""

    def __init__(self, app: App, **options: Any) -> None:
        self.ran: list[str] = []

        async def greet(name: str) -> str:
            self.ran.append(name)
            return f"Hello, {name}"

        self.app, self.greet = app, app.task(greet, name="greet", **options)


async def refused(job: Job[Any], keys: Keys) -> JobFailed:
    """It became a dead letter with its reason. Until then its waiting record is as bad as none."""

    async def buried() -> bool:
        return await keys.client.zscore(f"{keys.prefix}dead", job.id) is not None

    await until(buried)
    with pytest.raises(JobFailed) as failed:
        await job.result(timeout=10)
    info = await job.info()
    assert (info.reason, info.attempt) == ("bad signature", 0)
    return failed.value


async def test_a_signed_job_is_run_retried_and_answered(app: App, keys: Keys) -> None:
    signed = with_keys(app, KEY)
    tries: list[str] = []

    @signed.task(retry=RetryPolicy(delays=[0]))
    async def stumble(text: str) -> int:
        tries.append(text)
        if len(tries) < 3:
            raise ValueError(text)
        return len(tries)

    shop = Shop(signed)
    async with signed, signed.worker():
        assert await (await stumble.delay("x")).result(timeout=10) == 3  # each retry was signed anew
        delayed = await shop.greet.options(countdown=0.01, expires=60).delay("Bob")
        large = await shop.greet.delay("x" * 40_000)
        assert await delayed.result(timeout=10) == "Hello, Bob"
        assert len(await large.result(timeout=10)) == 40_007
        info = await delayed.info()
    assert (info.result, info.reason) == ("Hello, Bob", None)
    assert b'"s":"' in (await keys.record(delayed.id) or b"")


async def test_an_unsigned_job_is_a_dead_letter_and_nothing_of_it_is_decoded_or_logged(
    app: App, keys: Keys, events: Events
) -> None:
    plain, shop = Shop(app), Shop(with_keys(app, KEY))
    job = await plain.greet.delay("canary")
    async with shop.app, shop.app.worker():
        failed = await refused(shop.app.job(job.id), keys)
        assert await (await shop.greet.delay("Bob")).result(timeout=10) == "Hello, Bob"
    assert "carries no signature" in failed.error_message
    assert shop.ran == ["Bob"]
    assert vars(events.of("failed")[0])["reason"] == "bad signature"
    assert not [line for line in events.records if "canary" in line.getMessage()]


async def test_a_job_signed_with_another_key_is_a_dead_letter(app: App, keys: Keys) -> None:
    stranger, shop = Shop(with_keys(app, FOREIGN)), Shop(with_keys(app, KEY))
    async with stranger.app, shop.app:
        job = await stranger.greet.delay("Eve")
        async with shop.app.worker():
            await refused(shop.app.job(job.id), keys)
    assert shop.ran == []


async def test_a_key_that_was_the_first_is_still_taken_while_it_is_listed(app: App, keys: Keys) -> None:
    older, shop = Shop(with_keys(app, OLD)), Shop(with_keys(app, KEY, OLD))
    async with older.app, shop.app:
        job = await older.greet.delay("Ada")
        async with shop.app.worker():
            assert await shop.app.job(job.id).result(timeout=10) == "Hello, Ada"
        with pytest.raises(BadSignature):  # what a worker has signed with the new key, the older app does not take
            await job.result(timeout=10)


@pytest.mark.parametrize("change", ["arguments", "timeout", "retries", "task", "state"])
async def test_a_changed_record_is_a_dead_letter(app: App, keys: Keys, change: str) -> None:
    shop = Shop(with_keys(app, KEY))

    async def send() -> None:
        raise AssertionError("it was run")

    shop.app.task(send, name="great")
    async with shop.app:
        job = await shop.greet.options(timeout=60, retries=0).delay("Ada")
        record = await keys.record(job.id) or b""
        old, new = {
            "arguments": (b"Ada", b"Eve"),
            "timeout": (b"60000", b"99999"),
            "retries": (b'"r":0', b'"r":9'),
            "task": (b"greet", b"great"),
            "state": (b'"s":"', b'"s": "'),
        }[change]
        assert old in record
        await keys.set_record(job.id, record.replace(old, new))
        async with shop.app.worker():
            await refused(job, keys)
    assert shop.ran == []


async def test_a_signed_record_under_another_id_is_a_dead_letter(app: App, keys: Keys) -> None:
    shop = Shop(with_keys(app, KEY))
    async with shop.app:
        job = await shop.greet.delay("Ada")
        record = await keys.record(job.id) or b""
        await keys.set_record("replayed", record)
        await keys.client.rpush(f"{keys.prefix}line:default:5", f"default:5:{record[2:6].decode()}:replayed")
        async with shop.app.worker():
            assert await job.result(timeout=10) == "Hello, Ada"
            await refused(shop.app.job("replayed"), keys)
    assert shop.ran == ["Ada"]


async def test_a_signed_record_in_another_queue_is_a_dead_letter(app: App, keys: Keys) -> None:
    shop = Shop(with_keys(app, KEY))
    async with shop.app:
        job = await shop.greet.delay("Ada")
        line = f"{keys.prefix}line:default:5"
        ticket = (await keys.client.lpop(line)).decode()
        await keys.client.zrem(f"{keys.prefix}lines:default", "5")
        await keys.client.rpush(f"{keys.prefix}line:admin:0", ticket.replace("default:5:", "admin:0:"))
        await keys.client.zadd(f"{keys.prefix}lines:admin", {"0": 0})
        async with shop.app.worker(["admin"]):
            failed = await refused(job, keys)
    assert "'default' and lay in 'admin'" in failed.error_message
    assert shop.ran == []


async def test_a_forged_result_is_no_result(app: App, keys: Keys) -> None:
    shop = Shop(with_keys(app, KEY))
    async with shop.app, shop.app.worker():
        job = await shop.greet.delay("Ada")
        assert await job.result(timeout=10) == "Hello, Ada"
        record = await keys.record(job.id) or b""
        await keys.client.set(f"{keys.prefix}job:{job.id}", record.replace(b"Hello, Ada", b"Hello, Eve"), px=60_000)
        for look in (job.result, job.info, job.status):
            with pytest.raises(BadSignature):
                await look()


async def test_a_result_that_somebody_else_publishes_is_no_result(app: App, keys: Keys) -> None:
    shop = Shop(with_keys(app, KEY))
    async with shop.app:
        job = await shop.greet.delay("Ada")
        forged = b"1s" + (await keys.record(job.id) or b"")[2:-2] + b',"v":"Hello, Eve"}'
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(job.result(timeout=10))

            async def heard() -> bool:
                return bool(await keys.client.publish(f"{keys.prefix}done:{job.id}", forged))

            await until(heard)
            await heard()
            async with shop.app.worker():
                assert await waiting == "Hello, Ada"


async def test_a_cancelled_job_is_signed_by_who_cancelled_it(app: App) -> None:
    shop = Shop(with_keys(app, KEY))
    async with shop.app:
        job = await shop.greet.options(countdown=60).delay("Ada")
        assert await job.cancel()
        assert (await job.info()).reason == "cancelled"


async def test_a_job_of_an_unknown_task_waits_signed_for_a_worker_that_knows_it(app: App, events: Events) -> None:
    shop, other = Shop(with_keys(app, KEY)), with_keys(app, KEY)
    async with shop.app, other:
        job = await shop.greet.delay("Ada")
        async with other.worker(["default"]):
            await events.line("postponed", job_id=job.id)
        async with shop.app.worker():
            assert await job.result(timeout=10) == "Hello, Ada"


async def test_a_worker_without_keys_runs_what_is_signed_and_signs_nothing(app: App, keys: Keys) -> None:
    shop, plain = Shop(with_keys(app, KEY)), Shop(app)
    async with shop.app:
        job = await shop.greet.delay("Ada")
        async with app.worker():
            assert await app.job(job.id).result(timeout=10) == "Hello, Ada"
        assert b'"s":' not in (await keys.record(job.id) or b"")
        with pytest.raises(BadSignature):
            await job.result(timeout=10)
    assert plain.ran == ["Ada"]


async def test_no_key_is_logged(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shop, plain = Shop(with_keys(app, KEY)), Shop(app)
    await plain.greet.delay("Ada")
    async with shop.app, shop.app.worker() as worker:
        assert await (await shop.greet.delay("Ada")).result(timeout=10) == "Hello, Ada"
        await worker.run_until_empty()
    assert KEY not in caplog.text


def test_a_signed_job_that_is_cancelled_while_it_waits_for_a_slot_is_cancelled() -> None:
    """It is looked at twice: as it was claimed, and as it is cancelled."""
    app = App("redis://nowhere.invalid", signing_keys=[KEY])
    job = app.task(lambda: None, name="f").new_job(b"[]", b"{}")
    record = job.head + b"1800000000000" + job.body
    held = claimed(
        Claimed(ticket=f"{job.line}:{job.generation}:{job.job_id}", record=record), number=1, fence=1, now_s=0
    )
    settings = WorkerSettings(queues=("default",), signer=app._core.signer)

    def looked_at() -> object:
        return triage(held, registry=app.registry, settings=settings, now_ms=1_800_000_000_000)

    assert looked_at() is None
    held.cancelled = True
    assert looked_at() == Cancelled()
