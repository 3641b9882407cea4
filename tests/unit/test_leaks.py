"""The leak check itself: a check that can't fail is none."""

from __future__ import annotations

import pytest

from tests.leaks import Keyspace, find_leaks, leaked_keys

WAITING = b"1wabcd1800000000000{}"
ENDED = b"1sabcd1800000000000{}"


def waiting_job() -> Keyspace:
    return Keyspace(
        strings={"j1": WAITING},
        tickets={"line:mail:5": ["mail:5:abcd:j1"]},
        members={"lines:mail": {"5"}, "queues": {"mail"}},
        endless={"job:j1", "line:mail:5", "lines:mail", "queues"},
    )


def test_a_job_that_waits_in_its_line_is_no_leak():
    assert find_leaks(waiting_job()) == []


def test_a_stale_ticket_beside_the_right_one_is_no_leak():
    space = waiting_job()
    space.tickets["schedule"] = ["mail:5:old0:j1"]
    assert find_leaks(space) == []


def test_an_ended_record_without_a_ttl_is_a_leak():
    assert find_leaks(Keyspace(strings={"j1": ENDED}, endless={"job:j1"})) == [
        "job:j1: has no TTL and is no permanent key"
    ]


def test_an_ended_record_with_a_ttl_is_none():
    assert find_leaks(Keyspace(strings={"j1": ENDED})) == []


@pytest.mark.parametrize("name", ["dead", "wake:mail", "poller", "stats:1", "unheard-of", "worker:w1", "active:w1"])
def test_a_key_that_shall_end_and_has_no_ttl_is_a_leak(name: str):
    assert find_leaks(Keyspace(endless={name})) == [f"{name}: has no TTL and is no permanent key"]


def test_the_keys_of_a_worker_that_is_a_member_are_no_leak():
    assert find_leaks(Keyspace(members={"workers": {"w1"}}, endless={"workers", "worker:w1"})) == []


def test_a_waiting_job_without_a_ticket_is_a_leak():
    space = waiting_job()
    space.tickets["line:mail:5"] = ["mail:5:old0:j1"]
    assert find_leaks(space) == ["job:j1: waits, but its ticket is in 0 places"]


def test_a_waiting_job_in_two_places_is_a_leak():
    space = waiting_job()
    space.tickets["active:w1"] = ["mail:5:abcd:j1"]
    assert find_leaks(space) == ["job:j1: waits, but its ticket is in 2 places"]


def test_a_mark_of_a_job_that_has_gone_is_a_leak():
    assert find_leaks(Keyspace(members={"lost": {"j1"}})) == ["lost: still names j1, which has ended or gone"]


def test_a_line_that_no_claim_would_find_is_a_leak():
    space = waiting_job()
    space.members["lines:mail"] = {"4"}
    assert find_leaks(space) == [
        "line:mail:5: holds tickets, but no `lines` key names it",
        "line:mail:4: named by its `lines` key, but empty",
    ]


@pytest.mark.parametrize("server", ["valkey", "redis"], indirect=True)
async def test_keys_are_read_from_a_real_server(raw, prefix):
    await raw.set(f"{prefix}job:j1", WAITING)
    await raw.rpush(f"{prefix}line:mail:5", "mail:5:abcd:j1")
    await raw.zadd(f"{prefix}lines:mail", {"5": 5})
    await raw.set(f"{prefix}poller", "w1", px=60_000)
    assert await leaked_keys(raw, prefix) == []
    await raw.set(f"{prefix}stray", "1")
    assert await leaked_keys(raw, prefix) == ["stray: has no TTL and is no permanent key"]
    await raw.unlink(*[key async for key in raw.scan_iter(match=f"{prefix.replace('{', '[{]')}*")])
