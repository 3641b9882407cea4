"""Replies and requests that get lost, connections that break, callers that go away: on real servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from aiotq.errors import StoreUnavailable
from aiotq.store import connect, scripts
from aiotq.store.contract import MAX_CLAIMED, Enqueued, Reclaimed, Replaced
from tests.contract.conftest import REAL
from tests.contract.kit import LEASE_MS, LINES, fails, ids, job, replacement, retried, returned, succeeded
from tests.faults.proxy import Fault

if TYPE_CHECKING:
    from tests.contract.kit import Bench
    from tests.faults.proxy import FaultProxy
    from tests.servers import Server

pytestmark = pytest.mark.parametrize("server", REAL, indirect=True)
CUTS = (Fault.DROP_REQUEST, Fault.DROP_REPLY, Fault.HALF_REPLY)  # test_silence.py has the black hole
LOSSES = pytest.mark.parametrize("fault", CUTS, ids=lambda fault: fault.name.lower())


# --- a sender's verbs are repeated until they are answered


@LOSSES
async def test_an_enqueue_without_a_reply_is_repeated_and_makes_one_job(
    far: Bench, bench: Bench, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.arm(fault, scripts.ENQUEUE.sha)

    [found] = await far.enqueue(job("j1"))

    assert proxy.hits == 1
    assert found is (Enqueued.NEW if fault is Fault.DROP_REQUEST else Enqueued.SAME)
    assert await bench.waiting() == ["j1"]


async def test_an_enqueue_to_a_server_that_can_not_be_reached_was_not_sent(server: Server) -> None:
    store = connect(f"{server.url}-nowhere", namespace="nowhere", connect_timeout_s=0.3)

    error = await fails(store.enqueue([job("j1")]))

    assert not error.sent
    await store.close()


async def test_an_enqueue_that_may_have_come_stays_unknown_though_its_repetition_is_not_permitted(
    far: Bench, bench: Bench, proxy: FaultProxy, server: Server
) -> None:
    user = "aiotq_worker" if server.kind == "acl" else "default"
    proxy.arm(Fault.DROP_REPLY, scripts.ENQUEUE.sha)
    enqueuing = asyncio.create_task(fails(far.enqueue(job("j1"))))
    await proxy.struck()
    proxy.freeze()  # the answer gets lost once the right is gone
    while await bench.waiting() != ["j1"]:  # noqa: ASYNC110  another process sets no event
        await asyncio.sleep(0)
    async with Redis.from_url(server.admin) as operator:
        await operator.execute_command("ACL", "SETUSER", user, "-evalsha")
        proxy.thaw()
        try:
            error = await enqueuing
        finally:
            await operator.execute_command("ACL", "SETUSER", user, "+evalsha")

    assert (type(error), error.sent) == (StoreUnavailable, True)
    assert "the next one was NOPERM" in str(error)


@LOSSES
async def test_a_replacement_without_a_reply_is_done_once(
    far: Bench, bench: Bench, proxy: FaultProxy, fault: Fault
) -> None:
    await bench.enqueue(job("j1"))
    proxy.arm(fault, scripts.REPLACE.sha)
    wanted = replacement("j1", line="mail:0")

    assert await far.replace(wanted) is Replaced.DONE

    assert await bench.replace(wanted) is Replaced.DONE
    assert await bench.waiting("mail:0") == ["j1"]


async def test_a_read_is_repeated(far: Bench, bench: Bench, proxy: FaultProxy) -> None:
    await bench.enqueue(job("j1"))
    proxy.arm(Fault.HALF_REPLY, b"\r\nGET\r\n", times=2)

    assert await far.store.read("j1") == await bench.store.read("j1")

    assert proxy.hits == 2


# --- a worker's verbs are sent once, and it finds out by itself


@LOSSES
async def test_a_claim_without_a_reply_is_recovered_by_the_list_of_what_is_held(
    far: Bench, bench: Bench, proxy: FaultProxy, fault: Fault
) -> None:
    await far.worker()
    await bench.enqueue(job("j1"), job("j2"), job("j3"))
    known = await far.one()
    proxy.arm(fault, scripts.EXCHANGE.sha)

    error = await fails(far.exchange(limit=2))
    reply = await far.exchange(held=[known.ticket], limit=MAX_CLAIMED)

    assert (error.sent, proxy.hits) == (True, 1)
    claimed = [] if fault is Fault.DROP_REQUEST else ["j2", "j3"]
    assert sorted(ids(reply.claimed)) == claimed
    assert sorted([*claimed, *await bench.waiting()]) == ["j2", "j3"]
    assert set(reply.gone) == set()


@LOSSES
async def test_outcomes_without_a_reply_are_repeated_and_stored_once(
    far: Bench, bench: Bench, proxy: FaultProxy, fault: Fault
) -> None:
    await far.worker()
    await bench.enqueue(*[job(f"j{number}") for number in range(4)])
    first, second, third, fourth = await far.claim()
    outcomes = (succeeded(first), retried(second, generation="CCCC"), returned(third, generation="DDDD"))
    proxy.arm(fault, scripts.EXCHANGE.sha)

    await fails(far.exchange(*outcomes))
    reply = await far.exchange(*outcomes, held=[fourth.ticket], limit=MAX_CLAIMED)

    assert list(reply.stored) == [fault is Fault.DROP_REQUEST] * 3
    assert (list(reply.claimed), list(reply.gone), reply.active) == ([], [], 1)
    seen = await bench.census()
    assert seen.lines == {"mail:5": ["mail:5:DDDD:j2"]}
    assert list(seen.schedule) == ["mail:5:CCCC:j1"]
    assert seen.records["j0"] == outcomes[0].record


@LOSSES
async def test_a_renewal_without_a_reply_does_no_harm(
    far: Bench, bench: Bench, proxy: FaultProxy, fault: Fault
) -> None:
    await far.worker()
    bench.clock.advance(ms=4_000)
    proxy.arm(fault, scripts.RENEW.sha)

    await fails(far.renew())

    assert (await far.renew()).alive
    assert (await bench.census()).workers == {"w1": bench.clock.now_ms() + LEASE_MS}


@LOSSES
async def test_a_promotion_without_a_reply_moves_each_job_once(
    far: Bench, bench: Bench, proxy: FaultProxy, fault: Fault
) -> None:
    await bench.enqueue(job("j1", delay_ms=1), job("j2", delay_ms=2))
    bench.clock.advance(ms=2)
    proxy.arm(fault, scripts.PROMOTE.sha)

    await fails(far.promote())
    reply = await far.promote()

    assert (reply.leader, reply.moved) == (True, 2 if fault is Fault.DROP_REQUEST else 0)
    assert await bench.waiting() == ["j1", "j2"]


@LOSSES
async def test_a_reclaim_without_a_reply_counts_each_job_as_lost_once(
    far: Bench, bench: Bench, proxy: FaultProxy, fault: Fault
) -> None:
    await bench.worker("dead")
    await bench.enqueue(*[job(f"j{number}") for number in range(4)])
    await bench.claim(by="dead")
    end_ms = (await bench.census()).workers["dead"]
    bench.clock.advance(ms=LEASE_MS)
    proxy.arm(fault, scripts.RECLAIM.sha)

    await fails(far.reclaim("dead", seen_ms=end_ms, limit=3))
    again = await far.reclaim("dead", seen_ms=end_ms, limit=3)
    if fault is Fault.DROP_REQUEST:
        assert again is Reclaimed.MORE
    else:
        assert again is Reclaimed.CHANGED
    assert await far.reclaim("dead", seen_ms=0, limit=3) is Reclaimed.DONE

    seen = await bench.census()
    assert seen.lost == {f"j{number}": 1 for number in range(4)}
    assert len(set(seen.lines["mail:5"])) == 4


@LOSSES
async def test_a_retirement_without_a_reply_loses_nothing(
    far: Bench, bench: Bench, proxy: FaultProxy, fault: Fault
) -> None:
    await far.worker()
    await bench.enqueue(job("j1"), job("j2"))
    await far.claim()
    proxy.arm(fault, scripts.RETIRE.sha)

    await fails(far.retire())
    await far.retire()

    assert sorted(await bench.waiting()) == ["j1", "j2"]
    assert (await bench.census()).workers == {}


# --- connections


async def test_a_connection_that_is_cut_in_the_middle_of_a_command_is_replaced(
    far: Bench, bench: Bench, proxy: FaultProxy
) -> None:
    await far.worker()
    proxy.freeze()
    waiting = asyncio.ensure_future(far.renew())
    await proxy.held()
    proxy.cut_all()
    proxy.thaw()

    assert (await fails(waiting)).sent
    assert (await far.renew()).alive


async def test_a_wait_on_a_connection_that_is_cut_fails_and_the_next_one_works(
    far: Bench, bench: Bench, proxy: FaultProxy
) -> None:
    proxy.arm(Fault.DROP_REPLY, b"BLPOP")
    waiting = asyncio.ensure_future(far.store.wait_token(["mail"], block_s=4))
    await proxy.struck()
    proxy.cut_all()

    await fails(waiting)

    for _ in range(20):  # the first token may still go to the connection that is no more
        await bench.store.leave_token("mail")
        if await far.store.wait_token(["mail"], block_s=0.2) == "mail":
            return
    raise AssertionError("no token came")


@pytest.mark.parametrize("delay_s", [0.0, 0.005])
async def test_a_caller_that_goes_away_leaves_the_connection_in_step(
    far: Bench, bench: Bench, proxy: FaultProxy, delay_s: float
) -> None:
    await bench.enqueue(*[job(f"j{number}") for number in range(40)])
    records = (await bench.census()).records
    proxy.delay_s = delay_s
    for number in range(40):
        leaving = asyncio.ensure_future(far.store.read(f"j{number}"))
        for _ in range(number):
            await asyncio.sleep(0)  # the later ones are in flight by now, or answered
        leaving.cancel()
        staying = f"j{(number + 7) % 40}"

        assert await far.store.read(staying) == records[staying]


async def test_many_callers_at_once_each_get_their_own_answer(far: Bench, bench: Bench) -> None:
    jobs = [job(f"j{number}") for number in range(50)]

    answers = await asyncio.gather(*[far.enqueue(one) for one in (*jobs, *jobs)])

    assert answers == [[Enqueued.NEW]] * 50 + [[Enqueued.SAME]] * 50
    assert len(await bench.waiting()) == 50


async def test_a_closed_store_says_so(bench: Bench, far: Bench) -> None:
    await far.store.close()

    error = await fails(far.renew())

    assert not error.sent


async def test_scripts_that_the_server_has_forgotten_are_loaded_again(bench: Bench) -> None:
    await bench.worker()
    for number in range(3):
        await bench.raw.script_flush()
        await bench.enqueue(job(f"j{number}"))
        await bench.raw.script_flush()
        assert ids(await bench.claim()) == [f"j{number}"]


async def test_scripts_forgotten_between_concurrent_calls_disturb_none_of_them(bench: Bench) -> None:
    await bench.raw.script_flush()

    answers = await asyncio.gather(*[bench.enqueue(job(f"j{number}")) for number in range(20)])

    assert answers == [[Enqueued.NEW]] * 20
    assert await bench.store.cancel("j1", generation="AAAA", lines=LINES) is False
