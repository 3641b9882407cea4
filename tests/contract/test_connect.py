"""What a store says of its server, its siblings, its namespace and its clock."""

from __future__ import annotations

import asyncio
import random
import string
from typing import TYPE_CHECKING

import pytest

from aiotq.store import connect
from aiotq.store.contract import Enqueued, WorkerCard
from tests import servers
from tests.contract.conftest import REAL
from tests.contract.kit import HOUR_MS, LEASE_MS, Bench, ids, job, succeeded

if TYPE_CHECKING:
    from tests.servers import Server


async def test_a_store_names_its_server(bench: Bench, server: Server) -> None:
    facts = await bench.store.open()

    assert facts.kind == servers.product(server.kind)
    assert facts.version[:1].isdigit()
    assert facts.url == bench.store.url
    assert [said for said in facts.warnings if "script engine" not in said] == []


@pytest.mark.parametrize("server", REAL, indirect=True)
async def test_a_server_that_may_evict_keys_is_warned_of(bench: Bench) -> None:
    await bench.raw.config_set("maxmemory-policy", "allkeys-lru")
    try:
        facts = await bench.store.open()
    finally:
        await bench.raw.config_set("maxmemory-policy", "noeviction")

    assert facts.policy == "allkeys-lru"
    assert ["noeviction" in said for said in facts.warnings if "script engine" not in said] == [True]


async def test_a_sibling_is_on_the_same_keys_with_connections_of_its_own(bench: Bench) -> None:
    sibling = bench.store.sibling()
    await sibling.open()
    await sibling.enqueue([job("j1")], now_ms=bench.clock.now_ms())
    await sibling.close()

    assert await bench.waiting() == ["j1"]
    assert await bench.enqueue(job("j1")) == [Enqueued.SAME], "the other one is still open"


async def test_two_namespaces_do_not_see_each_other(bench: Bench, server: Server, namespace: str) -> None:
    other = connect(server.url, namespace=f"{namespace}x", connect_timeout_s=5)
    far = Bench(other, bench.raw, f"{{{namespace}x}}:", bench.clock)
    await bench.enqueue(job("j1"))
    await far.worker()

    assert await far.claim() == []
    assert await far.enqueue(job("j1", generation="BBBB")) == [Enqueued.NEW]
    assert ids(await far.claim()) == ["j1"]
    assert await bench.waiting() == ["j1"]
    await far.wipe()
    await other.close()


async def test_any_legal_name_comes_through_whole(bench: Bench) -> None:
    draw = random.Random(7)
    plain = string.ascii_letters + string.digits + "_.-"
    queues = [
        "s",
        "5",
        "a",
        "-",
        ".",
        "_",
        "x" * 64,
        *("".join(draw.choices(plain, k=draw.randint(1, 64))) for _ in range(20)),
    ]
    names = [
        ":",
        "a:5:AAAA:x",
        ":::",
        "x" * 128,
        "-",
        *("".join(draw.choices(plain + ":", k=draw.randint(1, 128))) for _ in range(20)),
    ]
    await bench.worker(queues=queues)
    wanted = {
        f"{name}{number}"[-128:]: queue for number, (queue, name) in enumerate(zip(queues, names * 2, strict=False))
    }
    await bench.enqueue(*[job(name, f"{queue}:5", generation="-_a9") for name, queue in wanted.items()])

    claimed = await bench.claim(300, queues=queues)

    assert {one.ticket for one in claimed} == {f"{queue}:5:-_a9:{name}" for name, queue in wanted.items()}
    assert all((await bench.exchange(*[succeeded(one) for one in claimed])).stored)


async def test_a_whole_life_on_the_servers_own_clock(bench: Bench) -> None:
    store = bench.store
    card = WorkerCard(worker_id="w1", label="at w1", host="h", pid=7, queues=["mail"], lease_ms=LEASE_MS)
    seconds, microseconds = await bench.raw.time()
    started_ms = seconds * 1_000 + microseconds // 1_000
    assert await store.register(card)
    await store.enqueue([job("j1", delay_ms=30), job("far", delay_ms=HOUR_MS)])
    promoted = await store.promote("w1")
    assert promoted.leader
    assert promoted.wait_us is not None
    assert promoted.moved == 1 or -1_000_000 < promoted.wait_us <= 30_000

    async with asyncio.timeout(5):
        while not (reply := await store.exchange("w1", [], queues=["mail"], limit=5)).claimed:
            assert reply.next_due_us is not None
            await asyncio.sleep(max(0.0, reply.next_due_us / 1e6))  # until it is due, as a poller does

    assert ids(reply.claimed) == ["j1"]
    assert started_ms + 30 <= reply.now_ms < started_ms + 5_000
    assert reply.next_due_us is not None
    assert HOUR_MS * 1_000 - 5_000_000 < reply.next_due_us <= HOUR_MS * 1_000
    renewed = await store.renew("w1", lease_ms=LEASE_MS)
    assert renewed.alive
    assert reply.now_ms <= renewed.now_ms < started_ms + 5_000
    place = await store.locate("far", generation="AAAA", lines=["mail:5"])
    assert place.due_ms is not None
    assert renewed.now_ms <= place.now_ms < place.due_ms
    assert await store.retire("w1") == 1


async def test_a_delayed_job_is_not_moved_before_its_time(bench: Bench) -> None:
    await bench.worker()
    started_s = asyncio.get_running_loop().time()
    await bench.store.enqueue([job("j1", delay_ms=20)])
    moved = 0
    async with asyncio.timeout(5):
        while not moved:
            moved = (await bench.store.promote("w1")).moved

    assert asyncio.get_running_loop().time() - started_s > 0.018
