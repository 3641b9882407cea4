"""At `maxmemory`: nothing new comes in, all else goes on, and so the memory gets free again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from aiotq.errors import StoreFull
from aiotq.store import connect
from aiotq.store.contract import MAX_CLAIMED, Reclaimed, Replaced
from aiotq.store.tallies import Failing, Tally
from tests import servers
from tests.contract.conftest import REAL
from tests.contract.kit import LEASE_MS, LINES, Bench, died, ids, job, replacement, retried, returned, succeeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.clock import VirtualClock


@pytest_asyncio.fixture(params=REAL)
async def full(request: pytest.FixtureRequest, server_folder: Path, clock: VirtualClock) -> AsyncIterator[Bench]:
    """A bench on a server of its own, which `_fill` makes full."""
    if servers.find(request.param) is None:
        pytest.skip(f"no {request.param} server here")
    with servers.running(request.param, server_folder) as server:
        store = connect(server.url, namespace="test-full", connect_timeout_s=5)
        raw: Any = Redis.from_url(server.admin)
        await store.open()
        yield Bench(store, raw, "{test-full}:", clock)
        await raw.aclose()
        await store.close()


async def _fill(bench: Bench) -> None:
    """From now on Redis is over its limit, whatever is freed."""
    await bench.raw.config_set("maxmemory", 1)
    with pytest.raises(Exception, match=r"OOM|maxmemory"):
        await bench.raw.set("x", "y")


async def test_a_job_is_refused_whole_and_leaves_nothing(full: Bench) -> None:
    await _fill(full)

    with pytest.raises(StoreFull) as caught:
        await full.enqueue(job("j1"), job("j2", delay_ms=5), job("j3", "other:0"))

    assert caught.value.code == "OOM"
    assert (await full.census()).ttl_ms == {}
    await full.raw.config_set("maxmemory", 0)
    await full.enqueue(job("j1"))
    assert await full.waiting() == ["j1"]


async def test_workers_drain_what_is_there(full: Bench) -> None:
    await full.worker("w1")
    await full.enqueue(*[job(f"j{number}") for number in range(6)], job("later", delay_ms=10))
    held = await full.claim(2)
    await _fill(full)

    assert (await full.renew("w1")).alive
    reply = await full.exchange(succeeded(held[0]), died(held[1]), limit=3)
    assert (list(reply.stored), ids(reply.claimed)) == ([True, True], ["j2", "j3", "j4"])
    reply = await full.exchange(retried(reply.claimed[0]), returned(reply.claimed[1]))
    assert (list(reply.stored), reply.active) == ([True, True], 1)
    full.clock.advance(ms=10)
    assert (await full.promote("w1")).moved == 1
    reply = await full.exchange(held=[], limit=MAX_CLAIMED)
    assert ids(reply.claimed) == ["j4"]
    seen = await full.census()
    assert (len(seen.lines["mail:5"]), len(seen.schedule), list(seen.dead)) == (3, 1, ["j1"])
    assert seen.wake["mail"] == 1
    assert seen.ended == ["fj1", "sj0"]


async def test_what_workers_tell_is_counted(full: Bench) -> None:
    await full.worker("w1")
    await full.enqueue(job("j1"))
    full.clock.advance(ms=60_000)
    await _fill(full)

    failing = Failing(task="t", error="E", count=1, job_id="j1", message="", dead=False)
    tally = Tally(number=1, counters={"started": 1}, failures=[failing], vitals=b"{}")
    assert (await full.store.tally("w1", tally, now_ms=full.clock.now_ms())).known

    seen = await full.census()
    minute = full.clock.now_ms() // 60_000
    assert seen.stats[f"m:{minute}"] == {"started": b"1"}
    assert seen.stats[f"h:{(minute - 1) // 60}"] == {"e:mail": b"1"}
    assert list(seen.failures) == ["t\0E"]


async def test_a_dead_workers_jobs_come_back(full: Bench) -> None:
    await full.worker("w1")
    await full.enqueue(job("j1"), job("j2"))
    await full.claim()
    end_ms = (await full.census()).workers["w1"]
    full.clock.advance(ms=LEASE_MS)
    await _fill(full)

    assert await full.reclaim("w1", seen_ms=end_ms, limit=1) is Reclaimed.MORE
    assert await full.reclaim("w1", seen_ms=0) is Reclaimed.DONE

    assert sorted(await full.waiting()) == ["j1", "j2"]


async def test_workers_come_and_go_and_people_cancel(full: Bench) -> None:
    await full.worker("w1")
    await full.enqueue(job("j1"), job("j2"), job("j3"))
    await full.claim(1, by="w1")
    await _fill(full)

    assert await full.worker("w2")
    assert await full.store.cancel("j1", generation="AAAA", lines=LINES)
    assert await full.replace(replacement("j2")) is Replaced.DONE
    assert await full.replace(replacement("j3", line="mail:0")) is Replaced.DONE
    assert (await full.store.locate("j1", generation="AAAA", lines=LINES)).worker_id == "w1"
    await full.store.pause("mail")
    await full.store.resume("mail")
    await full.store.leave_token("mail")
    assert await full.retire("w1") == 1

    assert ids(await full.claim(by="w2")) == ["j3", "j1"]
