"""The users of docs/acl.md: what they can't do, and that each can do what it is for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from aiotq import App
from aiotq.errors import JobCancelled, StoreError, StoreUnusable
from aiotq.job import JobStatus
from aiotq.store import answers, connect
from aiotq.store.contract import Enqueued
from tests import servers
from tests.conftest import CONNECT_TIMEOUT_S
from tests.contract.kit import Bench, ids, job, succeeded
from tests.rights import user, without

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.parametrize("server", ["acl"], indirect=True)
ROOT = Path(__file__).parent.parent.parent
FORBIDDEN = [
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
    "CONFIG GET *",
    "CONFIG SET maxmemory 1",
    "EVAL return{} 0",
    "SCRIPT FLUSH",
    "SCRIPT KILL",
    "SHUTDOWN",
    "DEBUG SLEEP 0",
    "MONITOR",
    "CLIENT KILL TYPE normal",
    "CLIENT LIST",
    "ACL LIST",
    "ACL SETUSER x",
    "REPLICAOF no one",
    "SAVE",
    "MIGRATE h 1 k 0 1",
    "MODULE LIST",
    "SLOWLOG GET",
    "PSUBSCRIBE *",
    "MULTI",
    "SELECT 1",
]
USERS = ["worker", "producer", "reader"]


def by(server: servers.Server, who: str) -> str:
    """The server's URL for one of the users."""
    return server.url.replace("aiotq_worker", f"aiotq_{who}")


@pytest_asyncio.fixture
async def client(request: pytest.FixtureRequest, server: servers.Server) -> AsyncIterator[Any]:
    """A plain client of one of the users."""
    made = Redis.from_url(by(server, request.param))
    yield made
    await made.aclose()


async def denied(command: Any) -> bool:
    """Whether a command, or one inside the script that it runs, is refused for a lack of rights."""
    try:
        await command
    except RedisError as error:
        return answers.code(error) == "NOPERM"
    return False


@pytest.mark.parametrize("client", USERS, indirect=True)
async def test_nothing_but_the_commands_that_are_needed_can_be_run(client: Any) -> None:
    allowed = [command for command in FORBIDDEN if not await denied(client.execute_command(*command.split()))]

    assert allowed == []


@pytest.mark.parametrize("client", USERS, indirect=True)
async def test_nothing_outside_of_the_namespace_can_be_reached(client: Any, raw: Any, prefix: str) -> None:
    await raw.set("{other}:job:j1", "secret")
    own = await client.script_load("return redis.call('GET', KEYS[1])")
    undeclared = await client.script_load("return redis.call('GET', '{other}:job:j1')")

    assert await denied(client.get("{other}:job:j1"))
    assert await denied(client.mget(f"{prefix}job:j1", "{other}:job:j1"))
    assert await denied(client.evalsha(own, 1, "{other}:job:j1"))
    assert await denied(client.evalsha(undeclared, 1, f"{prefix}job:j1"))
    assert await client.evalsha(own, 1, f"{prefix}job:j1") is None
    await raw.delete("{other}:job:j1")


@pytest.mark.parametrize("client", USERS, indirect=True)
async def test_no_foreign_channel_can_be_heard_or_spoken_on(client: Any) -> None:
    publishes = await client.script_load("return redis.call('PUBLISH', '{other}:done:j1', 'x')")

    assert await denied(client.execute_command("SUBSCRIBE", "{other}:done:j1"))
    assert await denied(client.publish("{other}:done:j1", "x"))
    assert await denied(client.evalsha(publishes, 0))


WRITES = [
    ("SET", "1"),
    ("APPEND", "1"),
    ("DEL",),
    ("RPUSH", "1"),
    ("LPOP",),
    ("SADD", "1"),
    ("SREM", "1"),
    ("ZADD", "1", "1"),
    ("HSET", "1", "1"),
    ("PEXPIRE", "1"),
    ("RENAME", "{test-x}:y"),
    ("INCR",),
]


@pytest.mark.parametrize("client", ["reader"], indirect=True)
async def test_a_reader_writes_nothing(client: Any, raw: Any, prefix: str) -> None:
    key = f"{prefix}job:j1"
    await raw.set(key, "as it was")
    writes = await client.script_load("return redis.call(unpack(ARGV))")

    for command, *rest in WRITES:
        assert await denied(client.execute_command(command, key, *rest))
        assert await denied(client.evalsha(writes, 0, command, key, *rest))
    assert await raw.get(key) == b"as it was"
    await raw.delete(key)


async def test_a_producers_jobs_run_and_it_gets_their_results_and_cancels(
    server: servers.Server, namespace: str, bench: Bench
) -> None:
    async def double(number: int) -> int:
        return number * 2

    started = asyncio.Event()

    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    async with App(server.url, namespace=namespace) as app, App(by(server, "producer"), namespace=namespace) as outside:
        app.task(double, name="double")
        app.task(endless, name="endless")
        doubles, runs_on = outside.task(double, name="double"), outside.task(endless, name="endless")
        jobs = [await doubles.delay(21), await doubles.options(countdown=0.01).delay(4)]
        waits, runs = await doubles.options(countdown=60).delay(1), await runs_on.delay()
        async with app.worker(), asyncio.timeout(10):
            assert [await one.result() for one in jobs] == [42, 8]
            assert (await jobs[0].logs(), [far async for far in jobs[0].watch()]) == ((), [])
            await started.wait()
            assert (await runs.info()).status is JobStatus.RUNNING
            assert await waits.cancel()
            assert await runs.cancel()
            for one in (waits, runs):
                with pytest.raises(JobCancelled):
                    await one.result()
        assert not await jobs[0].cancel()
    await bench.wipe()


async def test_a_producer_can_claim_nothing(server: servers.Server, namespace: str, bench: Bench) -> None:
    producer = connect(by(server, "producer"), namespace=namespace, connect_timeout_s=CONNECT_TIMEOUT_S)
    assert await producer.enqueue([job("j1")]) == [Enqueued.NEW]
    await bench.worker("w1")

    with pytest.raises(StoreUnusable, match="right"):
        await producer.exchange("w1", [], queues=["mail"], limit=5)
    with pytest.raises(StoreUnusable, match="right"):
        await producer.wait_token(["mail"])
    with pytest.raises(StoreUnusable, match=r"may not run BLPOP, .*LPOP"):
        await producer.vet()

    await producer.close()
    assert ids(await bench.claim()) == ["j1"], "it is where it was"
    await bench.wipe()


async def test_a_reader_sees_where_jobs_are(server: servers.Server, namespace: str, bench: Bench) -> None:
    await bench.enqueue(job("j1"), job("j2"))
    await bench.worker("w1")
    claimed = await bench.one()
    reader = connect(by(server, "reader"), namespace=namespace, connect_timeout_s=CONNECT_TIMEOUT_S)
    await reader.open()

    assert await reader.read("j1") == await bench.store.read("j1")
    assert len(await reader.read_many(["j1", "j2"])) == 2
    assert (await reader.notes("j1")).enqueued_ms == bench.clock.now_ms()
    place = await reader.locate("j1", generation="AAAA", lines=["mail:5"])
    assert (place.status, place.worker) == (JobStatus.RUNNING, "at w1")
    assert (await reader.backlog(["mail"])).queued == 1
    assert await reader.live_workers() == {"at w1": ["mail"]}
    with pytest.raises(StoreError):
        await reader.enqueue([job("j3")])

    await bench.exchange(succeeded(claimed))
    await reader.close()


async def test_a_worker_that_may_not_load_scripts_works_once_they_are_loaded_as_the_page_says(
    server: servers.Server, raw: Any, namespace: str, monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    await raw.script_flush()
    page = (ROOT / "docs" / "acl.md").read_text("utf-8")
    [snippet] = [block for block in page.split("```") if block.startswith("python\n")]
    async with user(raw, server, namespace, without("SCRIPT LOAD")) as url:
        store = connect(url, namespace=namespace, connect_timeout_s=CONNECT_TIMEOUT_S)
        with pytest.raises(StoreUnusable, match="may not load"):
            await store.vet()
        monkeypatch.setenv("DEPLOY_URL", server.admin)
        await asyncio.to_thread(exec, snippet.removeprefix("python\n"), {})

        await store.vet()

        assert await store.enqueue([job("j1")]) == [Enqueued.NEW]
        far = Bench(store, bench.raw, bench.prefix, bench.clock)
        await far.worker()
        assert (await far.exchange(succeeded(await far.one()))).stored == [True]
        await store.close()
        async with Redis.from_url(url) as client:
            assert await denied(client.script_load("return 1"))
