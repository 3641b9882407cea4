"""The audit: what people did, once each, whatever becomes of an answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.errors import StoreUnusable
from aiotq.inspection import audit as audits
from aiotq.store import connect
from aiotq.store.contract import Replaced
from tests.conftest import CONNECT_TIMEOUT_S
from tests.contract.kit import ENTRY, HOUR_MS, LINES, Bench, audit, died, ids, job, replacement
from tests.rights import user
from tools import acl

if TYPE_CHECKING:
    from aiotq.store.inspection import Operator
    from tests.servers import Server


async def test_pause_and_resume_say_whether_they_changed_anything_and_keep_that(bench: Bench, person: Bench) -> None:
    assert await person.store.pause("mail", audit=ENTRY)
    assert not await person.store.pause("mail", audit=ENTRY)
    assert await person.store.resume("mail", audit=ENTRY)
    assert not await person.store.resume("mail", audit=ENTRY)

    assert len(await audit(bench)) == 2


async def test_a_cancel_that_reaches_a_worker_is_kept(bench: Bench, person: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.one()

    assert await person.store.cancel("j1", generation="AAAA", lines=LINES, audit=ENTRY)
    assert not await person.store.cancel("nobody", generation="AAAA", lines=LINES, audit=ENTRY)

    [entry] = await audit(bench)
    assert entry["by"] == "ada"
    assert isinstance(entry["at"], int)
    assert abs(int(entry["at"]) - int((await bench.raw.time())[0]) * 1_000) < HOUR_MS


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_the_audit_keeps_the_last_ten_thousand_entries(bench: Bench, side: Operator) -> None:
    await bench.raw.rpush(bench.key("audit"), *(str(number) for number in range(10_000)))

    await side.keep(ENTRY, now_ms=7)

    assert await bench.raw.llen(bench.key("audit")) == 10_000
    assert json.loads(await bench.raw.lindex(bench.key("audit"), 0))["at"] == 7
    assert await bench.raw.lindex(bench.key("audit"), -1) == b"9998"


# --- what comes twice


def stamped(stamp: str, came_to: str = "done") -> bytes:
    """An entry of one act."""
    return audits.entry(by="ada", action="x", subject="y", came_to=came_to, stamp=stamp)


async def test_an_entry_that_comes_twice_is_kept_once(bench: Bench, side: Operator) -> None:
    assert await side.keep(stamped("aa01"))
    assert await side.keep(stamped("bb02", "7 jobs"))

    assert await side.keep(stamped("aa01")), "its answer was lost"

    assert [entry["came_to"] for entry in await audit(bench)] == ["7 jobs", "done"]


async def test_an_act_has_one_entry_and_the_first_one_stands(bench: Bench, side: Operator) -> None:
    await side.keep(stamped("aa01"))

    assert not await side.keep(stamped("aa01", "it has not failed")), "it was done, and has moved on since"

    assert [entry["came_to"] for entry in await audit(bench)] == ["done"]


async def test_what_an_act_came_to_stands_where_it_had_begun_whatever_came_since(bench: Bench, side: Operator) -> None:
    await side.keep(stamped("bb02", "before"))
    begun = stamped("aa01", audits.BEGUN)
    await side.keep(begun, now_ms=7)
    others = [f'{{"at":8,{stamped("cc03").decode()}' for _ in range(9_000)]
    await bench.raw.lpush(bench.key("audit"), *others)

    for _ in range(2):
        assert await side.keep(stamped("aa01", "5 jobs"), begun=audits.whole(begun, 7)), "its answer may be lost"

    assert await bench.raw.llen(bench.key("audit")) == len(others) + 2
    entries = [json.loads(entry) for entry in await bench.raw.lrange(bench.key("audit"), -2, -1)]
    assert [(entry["at"] == 7, entry["came_to"]) for entry in entries] == [(True, "5 jobs"), (False, "before")]


async def test_who_is_told_twice_to_stop_a_job_keeps_it_once(bench: Bench, person: Bench) -> None:
    await bench.worker()
    await bench.enqueue(job("j1"))
    await bench.one()

    for _ in range(2):
        assert await person.store.cancel("j1", generation="AAAA", lines=LINES, audit=stamped("aa01"))

    assert len(await audit(bench)) == 1


async def test_a_pause_whose_answer_was_lost_says_again_that_it_paused(bench: Bench, person: Bench) -> None:
    store = person.store
    assert [await store.pause("mail", audit=stamped("aa01")) for _ in range(2)] == [True] * 2
    assert not await store.pause("mail", audit=stamped("bb02")), "somebody else's"
    assert [await store.resume("mail", audit=stamped("cc03")) for _ in range(2)] == [True] * 2
    assert not await store.resume("mail", audit=stamped("dd04"))

    assert len(await audit(bench)) == 2


async def test_entries_of_others_that_are_none_are_passed_over(bench: Bench, side: Operator) -> None:
    await bench.raw.lpush(bench.key("audit"), b"", b"\xff", b'"stamp":"aa01"}x')

    assert await side.keep(stamped("aa01"))
    assert await side.keep(ENTRY)
    assert await side.keep(ENTRY), "one that has no stamp is no repeat of another"

    assert await bench.raw.llen(bench.key("audit")) == 6


# --- where it can't be kept


@pytest.mark.parametrize("server", ["valkey", "redis"], indirect=True)
@pytest.mark.parametrize("command", ["LPUSH", "LTRIM", "LRANGE"])
async def test_what_was_put_in_a_line_wakes_a_worker_though_the_audit_could_not_be_written(
    bench: Bench, server: Server, raw: Any, namespace: str, command: str
) -> None:
    await bench.worker()
    await bench.enqueue(job("dead"), job("later", delay_ms=1_000))
    await bench.exchange(died(await bench.one()))
    await bench.store.pause("mail")
    await bench.take_tokens()
    async with user(raw, server, namespace, acl.commands("operator") - {command}) as url:
        store = connect(url, namespace=namespace, connect_timeout_s=CONNECT_TIMEOUT_S)
        for name, was in (("dead", "f"), ("later", "w")):
            with pytest.raises(StoreUnusable, match="NOPERM"):
                await store.replace(replacement(name, was=was, line="mail:5"), audit=stamped("a1"))
            assert await bench.take_tokens() == {"mail"}
        with pytest.raises(StoreUnusable, match="NOPERM"):
            await store.resume("mail", audit=stamped("bb02"))
        assert await bench.take_tokens() == {"mail"}
        await store.close()

    assert ids(await bench.claim()) == ["dead", "later"]
    seen = await bench.census()
    assert (seen.schedule, seen.dead) == ({}, {})
    assert await audit(bench) == []


@pytest.mark.parametrize("spoiled", ["SET", "SADD"])
async def test_an_audit_of_the_wrong_type_is_put_aside_and_the_act_kept(
    bench: Bench, person: Bench, side: Operator, spoiled: str
) -> None:
    await bench.worker()
    await bench.enqueue(job("dead"), job("runs"))
    await bench.exchange(died(await bench.one()))
    await bench.one()
    await bench.take_tokens()
    for act in (
        lambda: person.store.replace(replacement("dead", was="f", line="mail:5"), audit=stamped("a1")),
        lambda: person.store.cancel("runs", generation="AAAA", lines=LINES, audit=stamped("a2")),
        lambda: person.store.pause("mail", audit=stamped("a3")),
        lambda: person.store.resume("mail", audit=stamped("a4")),
        lambda: side.keep(stamped("a5")),
    ):
        await bench.raw.delete(bench.key("audit"), bench.key("aside:audit"))
        await bench.raw.execute_command(spoiled, bench.key("audit"), "spoiled")

        assert await act() in {True, Replaced.DONE}

        assert len(await audit(bench)) == 1
        assert await bench.raw.pttl(bench.key("aside:audit")) > 0
    assert await bench.take_tokens() == {"mail"}
    assert ids(await bench.claim()) == ["dead"]
    await bench.wipe()
