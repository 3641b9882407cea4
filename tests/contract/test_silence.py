"""A server that says nothing any more, without hanging up: every verb fails in its time, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from aiotq.store import connect, scripts
from aiotq.store.contract import MAX_CLAIMED, Enqueued
from tests.contract.kit import fails, ids, job, succeeded
from tests.faults.proxy import Fault

if TYPE_CHECKING:
    from tests.contract.kit import Bench
    from tests.faults.proxy import FaultProxy
    from tests.servers import Server

pytestmark = pytest.mark.parametrize("server", ["valkey", "acl"], indirect=True)


async def test_an_enqueue_that_is_never_answered_fails_in_time_and_may_be_repeated(
    far: Bench, bench: Bench, proxy: FaultProxy
) -> None:
    proxy.arm(Fault.BLACK_HOLE, scripts.ENQUEUE.sha, times=100)

    error = await fails(far.enqueue(job("j1")))

    assert error.sent
    proxy.arm(Fault.BLACK_HOLE, b"nothing at all")
    assert await far.enqueue(job("j1")) == [Enqueued.SAME]
    assert await bench.waiting() == ["j1"]


async def test_who_gives_up_in_the_turn_in_which_the_connection_does_knows_that_it_was_sent(
    server: Server, proxy: FaultProxy, namespace: str
) -> None:
    """A loop that is late finds both times over at once, and the connection is given up first."""
    store = connect(proxy.url, namespace=namespace, connect_timeout_s=1)
    await store.open()
    proxy.freeze()
    enqueuing = asyncio.create_task(store.enqueue([job("j1")], timeout_s=0.9))  # given up by itself after 1 s
    await proxy.held()
    vars(store)["_wire"]._late = True  # the wire has looked once, and looks for the last time now
    time.sleep(1.2)  # noqa: ASYNC251  the fault, not a wait: both are overdue when the loop goes on

    error = await fails(enqueuing)

    assert error.sent
    await store.close()


async def test_a_server_that_stops_answering_costs_no_more_than_the_time_given(far: Bench, proxy: FaultProxy) -> None:
    await far.worker()
    proxy.freeze()
    started_s = asyncio.get_running_loop().time()

    await fails(far.renew())

    assert asyncio.get_running_loop().time() - started_s >= 0.9
    proxy.thaw()
    assert (await far.renew()).alive


async def test_an_exchange_into_silence_is_recovered_whole(far: Bench, bench: Bench, proxy: FaultProxy) -> None:
    await far.worker()
    await bench.enqueue(job("j1"), job("j2"))
    outcome = succeeded(await far.one())
    proxy.arm(Fault.BLACK_HOLE, scripts.EXCHANGE.sha)

    await fails(far.exchange(outcome, limit=5))
    reply = await far.exchange(outcome, held=[], limit=MAX_CLAIMED)

    assert (list(reply.stored), ids(reply.claimed), list(reply.gone)) == ([False], ["j2"], [])
    assert (await bench.census()).records["j1"] == outcome.record


@pytest.mark.parametrize("timeout_s", [None, 0.3], ids=["the wire's limit", "the caller's"])
async def test_an_answer_that_came_while_the_loop_was_blocked_is_no_silence(
    bench: Bench, server: Server, namespace: str, timeout_s: float | None
) -> None:
    await bench.raw.script_load(scripts.ENQUEUE.text)  # else a second round trip asks for it
    limit_s = 0.5
    store = connect(server.url, namespace=namespace, connect_timeout_s=limit_s)
    await store.open()
    sending = asyncio.ensure_future(store.enqueue([job("j1")], timeout_s=timeout_s))
    for _ in range(5):  # until it has been sent
        await asyncio.sleep(0)
    time.sleep(2 * limit_s)  # noqa: ASYNC251  the fault, not a wait: as a task that blocks its worker's loop

    assert await sending == [Enqueued.NEW]
    await store.close()
    assert await bench.waiting() == ["j1"]
