"""Records, tickets and messages of format 1, kept as the release that introduced them wrote them, byte for byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.store.contract import Ended, Enqueued, NewJob
from tests.contract.conftest import REAL
from tests.golden import cases

if TYPE_CHECKING:
    from tests.contract.kit import Bench

KEPT: dict[str, dict[str, Any]] = json.loads(cases.FILE.read_text("utf-8"))
KEPT_2: dict[str, dict[str, Any]] = json.loads(cases.FILE_2.read_text("utf-8"))
HOUR_MS = 3_600_000


@pytest.mark.parametrize("kind", ["records", "tickets"])
def test_what_this_version_writes_and_reads_is_what_was_kept(kind: str) -> None:
    made = cases.golden()[kind]
    assert list(made) == list(KEPT[kind])
    for name, kept in KEPT[kind].items():
        assert made[name] == kept, name


def test_what_this_version_writes_and_reads_of_jobs_with_headers_is_what_was_kept() -> None:
    assert cases.golden_2() == KEPT_2
    assert {kept["bytes"][0] for kept in KEPT_2["records"].values()} == {"2"}


@pytest.mark.parametrize("name", KEPT["records"])
def test_a_record_that_was_kept_is_read_as_it_was(name: str) -> None:
    kept = json.dumps(KEPT["records"][name]).replace("(17,000 x)", cases.LONG)
    record = json.loads(kept)
    assert cases.shown(record["bytes"].encode()) == record["read"]


@pytest.mark.parametrize("name", KEPT["tickets"])
def test_a_ticket_that_was_kept_is_taken_apart_as_it_was(name: str) -> None:
    kept = KEPT["tickets"][name]
    assert cases.taken_apart(kept["bytes"]) == kept["read"]


@pytest.mark.parametrize("server", REAL, indirect=True)
async def test_the_scripts_put_them_where_they_were_put_and_publish_a_jobs_end_as_its_record(bench: Bench) -> None:
    first, ended = (KEPT["records"][name]["bytes"].encode() for name in ("new", "succeeded, its result not stored"))
    ticket = KEPT["tickets"]["priority 5"]["bytes"]
    new = NewJob(job_id="j1", line="default:5", generation="abcd", head=first[:6], body=first[19:])

    assert await bench.store.enqueue([new], now_ms=cases.NOW_MS) == [Enqueued.NEW]

    seen = await bench.census()
    assert (seen.records, seen.lines) == ({"j1": first}, {"default:5": [ticket]})
    await bench.worker(queues=["default"])
    [held] = await bench.claim(queues=["default"])
    assert (held.ticket, held.record) == (ticket, first)
    await bench.raw.set(bench.key("waits"), "1", px=60_000)
    async with bench.raw.pubsub() as heard:
        await heard.subscribe(bench.key("done:j1"))
        await bench.exchange(Ended(ticket=ticket, record=ended, ttl_ms=HOUR_MS))
        messages = [await heard.get_message(timeout=5) for _ in range(2)]
    assert [message["data"] for message in messages] == [1, ended]
