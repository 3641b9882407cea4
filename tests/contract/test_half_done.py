"""A right that goes while a script runs: Redis rolls nothing back, so each script keeps every job in one place."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from aiotq.errors import StoreError
from aiotq.job import parse_ticket
from aiotq.store import connect
from aiotq.store.tallies import Failing, Tally
from tests.conftest import CONNECT_TIMEOUT_S
from tests.contract.kit import Bench, died, job, replacement, retried, returned, succeeded
from tests.rights import WORKER, user, without

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers import Server

pytestmark = pytest.mark.parametrize("server", ["valkey", "redis"], indirect=True)
HELD = 3


async def enqueues(bench: Bench) -> Callable[[Bench], Awaitable[object]]:
    await bench.enqueue(job("before"))
    jobs = [
        job("now"),
        job("first", "mail:f"),
        job("later", delay_ms=1_000),
        job("bound", max_len=9),
        job("other", "x:5"),
    ]
    return lambda store: store.enqueue(*jobs)


async def ends(bench: Bench) -> Callable[[Bench], Awaitable[object]]:
    well, badly, again, back = await _held(bench, 4)
    outcomes = [succeeded(well), died(badly), retried(again), returned(back)]
    return lambda store: store.exchange(*outcomes, limit=1)


async def claims(bench: Bench) -> Callable[[Bench], Awaitable[object]]:
    await bench.worker()
    await bench.enqueue(job("waits"), job("due", delay_ms=10), job("due-first", "mail:f", delay_ms=10))
    bench.clock.advance(ms=10)
    return lambda store: store.claim(1)


async def promotes(bench: Bench) -> Callable[[Bench], Awaitable[object]]:
    await bench.worker()
    await bench.enqueue(
        job("due", delay_ms=10), job("due-first", "mail:f", delay_ms=10), job("other", "x:5", delay_ms=10)
    )
    bench.clock.advance(ms=10)
    return lambda store: store.promote()


async def retires(bench: Bench) -> Callable[[Bench], Awaitable[object]]:
    await _held(bench, HELD)
    return lambda store: store.retire()


async def reclaims(bench: Bench) -> Callable[[Bench], Awaitable[object]]:
    await _held(bench, HELD)
    end_ms = (await bench.census()).workers["w1"]
    bench.clock.advance(ms=end_ms - bench.clock.now_ms())

    async def reclaim(store: Bench) -> None:
        end_now_ms = (await bench.census()).workers.get("w1")
        if end_now_ms is not None:
            await store.reclaim("w1", seen_ms=end_now_ms)

    return reclaim


async def renews(bench: Bench) -> Callable[[Bench], Awaitable[object]]:
    await _held(bench, HELD)
    return lambda store: store.renew()


async def replaces(bench: Bench) -> Callable[[Bench], Awaitable[object]]:
    await bench.enqueue(job("queued"), job("scheduled", delay_ms=1_000))

    async def replace(store: Bench) -> None:
        await store.replace(replacement("queued", line="mail:5", delay_ms=500))
        await store.replace(replacement("scheduled", line="mail:5"))

    return replace


async def tells(bench: Bench) -> Callable[[Bench], Awaitable[object]]:
    await _held(bench, HELD)
    bench.clock.advance(ms=60_000)  # ... a minute has passed that is to be counted in its hour
    failing = Failing(task="t", error="E", count=1, job_id="j1", message="", dead=False)
    tally = Tally(number=1, counters={"started": 1, "t:s:t": 1}, failures=[failing], vitals=b"{}")
    return lambda store: store.store.tally("w1", tally, now_ms=store.clock.now_ms())


VERBS = {verb.__name__: verb for verb in (enqueues, ends, claims, promotes, retires, reclaims, renews, replaces, tells)}


async def _held(bench: Bench, count: int) -> list[Any]:
    """Jobs in the hands of a worker."""
    await bench.worker()
    await bench.enqueue(*[job(f"held {number}".replace(" ", "-")) for number in range(count)])
    return await bench.claim(count)


async def places(bench: Bench) -> dict[str, int]:
    """Of each job that waits or runs, in how many places it is."""
    census = await bench.census()
    tickets = [*census.schedule, *(one for found in (*census.lines.values(), *census.active.values()) for one in found)]
    live: Counter[str] = Counter()
    for ticket in tickets:
        parsed = parse_ticket(ticket)
        record = census.records.get(parsed.job_id, b"")
        live[parsed.job_id] += record[1:2] == b"w" and record[2:6].decode() == parsed.generation
    return {job_id: live[job_id] for job_id, record in census.records.items() if record[1:2] == b"w"}


@pytest.mark.parametrize("verb", VERBS)
async def test_without_any_one_right_each_job_stays_in_one_place_and_the_verb_can_be_repeated(
    bench: Bench, server: Server, raw: Any, namespace: str, verb: str
) -> None:
    refused = 0
    for command in sorted(WORKER):
        act = await VERBS[verb](bench)
        async with user(raw, server, namespace, without(command)) as url:
            store = connect(url, namespace=namespace, connect_timeout_s=CONNECT_TIMEOUT_S)
            try:
                await act(Bench(store, raw, bench.prefix, bench.clock))
            except StoreError:
                refused += 1
            await store.close()
        assert not await raw.exists(bench.key("scratch")), f"without {command}"
        half = await places(bench)
        assert set(half.values()) <= {1}, f"without {command}: {half}"
        if verb in {"ends", "claims", "promotes", "renews", "tells"}:
            assert "w1" in (await bench.census()).workers, f"without {command} its worker is reclaimed"

        await act(bench)

        whole = await places(bench)
        assert set(whole.values()) <= {1}, f"repeated after {command} was missing: {whole}"
        assert set(half) | set(whole) == set(half) or verb == "enqueues", f"without {command}"
        await bench.wipe()
    assert refused > 2


async def test_without_any_one_right_a_dead_letter_is_retried_as_a_whole_or_not_at_all(
    bench: Bench, server: Server, raw: Any, namespace: str
) -> None:
    refused = 0
    for command in sorted(WORKER):
        [held] = await _held(bench, 1)
        job_id = parse_ticket(held.ticket).job_id
        await bench.exchange(died(held))
        await raw.hset(bench.key("lost"), job_id, 1)
        await bench.take_tokens()
        async with user(raw, server, namespace, without(command)) as url:
            store = connect(url, namespace=namespace, connect_timeout_s=CONNECT_TIMEOUT_S)
            try:
                again = structs.replace(replacement(job_id, was="f", line="mail:5"), forgets=True)
                await store.replace(again, now_ms=bench.clock.now_ms())
            except StoreError:
                refused += 1
            await store.close()

        seen = await bench.census()
        state, dead, lost = seen.records[job_id][1:2], list(seen.dead), await raw.hlen(bench.key("lost"))
        assert (state, dead, lost) in [(b"f", [job_id], 1), (b"w", [], 0)], f"without {command}"
        await bench.wipe()
    assert refused > 2
