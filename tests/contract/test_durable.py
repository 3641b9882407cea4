"""What `settled` promises: on the server's disk, or on a replica. Seen at the server's own fsyncs (tests/disk.py)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from aiotq.errors import NotDurable, QueueFull, StoreFull, StoreRefused, StoreUnavailable
from aiotq.store import connect, durable, scripts
from aiotq.store.contract import Enqueued
from tests import disk, servers
from tests.contract.kit import job
from tests.faults.proxy import Fault, FaultProxy
from tools import acl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from aiotq.store.contract import Store

TIMEOUT_S = 10.0
REAL = ("valkey", "redis")  # a worker of the kind "acl" enqueues nothing durably
PAUSING = (
    "--appendonly",
    "yes",
    "--no-appendfsync-on-rewrite",
    "yes",
)  # while a child writes, nothing is brought to disk


@asynccontextmanager
async def opened(url: str, *, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Store]:
    """A store, closed at the end."""
    store = connect(url, namespace="own", connect_timeout_s=timeout_s)
    try:
        yield store
    finally:
        await store.close()


async def make_safe(store: Store, job_id: str, *, generation: str = "AAAA") -> Enqueued | QueueFull:
    """Enqueue a job and wait until it is safe."""
    [answer], link = await store.enqueue_durably([job(job_id, generation=generation)])
    await store.settled(link, timeout_s=TIMEOUT_S)
    return answer


# --- on the server's disk


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize("policy", ["always", "everysec"])
async def test_what_is_settled_is_on_disk(kind: servers.Kind, policy: str, server_folder: Path) -> None:
    with disk.watched(kind, server_folder, "--appendfsync", policy, slow_s=0.1) as server:
        async with opened(server.url) as store:
            for job_id in ("the-first", "the-next", "the-last"):
                assert await make_safe(store, job_id) is Enqueued.NEW
                assert server.held(job_id, by_s=disk.now_s())


@pytest.mark.parametrize("kind", REAL)
async def test_a_job_that_was_there_already_is_waited_for_too(kind: servers.Kind, server_folder: Path) -> None:
    """Whoever repeats after an error comes over a new connection, and writes nothing: WAITAOF alone would say yes."""
    with disk.watched(kind, server_folder, "--appendfsync", "everysec", slow_s=0.1) as server:
        async with opened(server.url) as first, opened(server.url) as second:
            await make_safe(first, "earlier")  # so that the next fsync is a second away
            await first.enqueue([job("the-same"), job("another")])
            assert await make_safe(second, "the-same") is Enqueued.SAME
            assert server.held("the-same", by_s=disk.now_s())
            assert await make_safe(second, "another", generation="BBBB") is Enqueued.EXISTED
            assert server.held("another", by_s=disk.now_s())


async def test_with_a_slow_disk_it_takes_as_long_as_the_disk(server_folder: Path) -> None:
    with disk.watched("valkey", server_folder, "--appendfsync", "everysec", slow_s=1.5) as server:
        async with opened(server.url) as store:
            for number in range(3):  # the second one comes while an fsync is under way
                await make_safe(store, f"number-{number}")
                assert server.held(f"number-{number}", by_s=disk.now_s())


async def test_while_the_file_is_rewritten_nothing_is_called_safe_too_early(server_folder: Path) -> None:
    with disk.watched("valkey", server_folder, "--appendfsync", "everysec", slow_s=0.1) as server:
        async with opened(server.url) as store, Redis.from_url(server.url) as raw:
            _, link = await store.enqueue_durably([job("before")])
            await raw.bgrewriteaof()
            await store.enqueue([job("after-it")])
            await store.settled(link, timeout_s=TIMEOUT_S)
            await make_safe(store, "after-it")
            assert server.held("after-it", by_s=disk.now_s())


async def test_waitaof_is_asked_about_a_write_of_its_own(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Redis 8. Of a Valkey its word can be taken with `appendfsync always`."""
    if not servers.at_least("valkey", 7, 2):
        pytest.skip("WAITAOF came with Redis 7.2")
    monkeypatch.setattr(durable, "choose", lambda *_, **__: durable.Means.WAITAOF)
    with disk.watched("valkey", server_folder, "--appendfsync", "always", slow_s=0.2) as server:
        async with opened(server.url) as first, opened(server.url) as second, Redis.from_url(server.url) as raw:
            await make_safe(first, "alone")
            assert server.held("alone", by_s=disk.now_s())
            await raw.config_set("appendfsync", "no")
            await first.enqueue([job("not-on-disk")])
            [answer], link = await second.enqueue_durably([job("not-on-disk")])
            assert answer is Enqueued.SAME
            with pytest.raises(StoreUnavailable, match="no word within"):
                await second.settled(link, timeout_s=0.3)
            assert not server.held("not-on-disk", by_s=disk.now_s())


async def test_all_that_wait_at_once_share_the_questions(server_folder: Path) -> None:
    with disk.watched("valkey", server_folder, "--appendfsync", "everysec") as server:
        async with opened(server.url) as store, Redis.from_url(server.url) as raw:
            await make_safe(store, "first")
            await raw.config_resetstat()
            began_s = disk.now_s()
            await asyncio.gather(*[make_safe(store, f"job-{number}") for number in range(200)])
            stats = await raw.info("commandstats")
            looks = 20 * (disk.now_s() - began_s) + 10
            assert stats["cmdstat_info"]["calls"] < looks, "20 looks a second, whoever waits"


async def test_a_wait_holds_up_no_other_verb(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "EVERYSEC_S", 60)  # for so long it does not look
    with disk.watched("valkey", server_folder, "--appendfsync", "everysec") as server:
        async with opened(server.url) as store:
            _, link = await store.enqueue_durably([job("j1")])
            waiting = asyncio.create_task(store.settled(link, timeout_s=TIMEOUT_S))
            for number in range(100):
                await store.enqueue([job(f"other-{number}")])
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])


# --- on a replica


def free_port() -> int:
    """A port of the loopback that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def pair(kind: servers.Kind, folder: Path) -> Iterator[tuple[servers.Server, servers.Server, tuple[str, str]]]:
    """A primary without a file, a server that may become its replica, and what to tell that one."""
    port = str(free_port())
    for name in ("primary", "replica"):
        (folder / name).mkdir()
    primary_options = ("--port", port, "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
    with (
        servers.running(kind, folder / "primary", *primary_options) as primary,
        servers.running(kind, folder / "replica") as replica,
    ):
        yield primary, replica, ("127.0.0.1", port)


async def until_connected(raw: Any) -> None:
    """Until the primary has a replica that is in step."""
    async with asyncio.timeout(20):
        while (await raw.info("replication")).get("slave0", {}).get("state") != "online":  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # a server tells nobody that its replica is in step


@pytest_asyncio.fixture(params=REAL)
async def replicated(request: pytest.FixtureRequest, server_folder: Path) -> AsyncIterator[tuple[str, int, Any]]:
    """A primary with a replica: its URL, the replica's pid, a client of the replica."""
    if servers.find(request.param) is None:
        pytest.skip(f"no {request.param} server here")
    with pair(request.param, server_folder) as (primary, replica, address):
        assert replica.pid is not None
        async with Redis.from_url(primary.url) as raw, Redis.from_url(replica.url) as raw_replica:
            await raw_replica.replicaof(*address)
            await until_connected(raw)
            yield primary.url, replica.pid, raw_replica


async def test_without_a_file_a_job_on_a_replica_is_safe(replicated: tuple[str, int, Any]) -> None:
    url, _, raw_replica = replicated
    async with opened(url) as store:
        for number in range(5):
            await make_safe(store, f"j{number}")
            assert await raw_replica.exists(f"{{own}}:job:j{number}")


async def test_a_replica_that_is_silent_makes_nothing_safe(replicated: tuple[str, int, Any]) -> None:
    url, pid, _ = replicated
    async with opened(url) as first, opened(url) as second:
        await make_safe(first, "before")
        os.kill(pid, signal.SIGSTOP)
        _, link = await first.enqueue_durably([job("j1")])
        with pytest.raises(StoreUnavailable, match="no word within") as caught:
            await first.settled(link, timeout_s=0.5)
        assert caught.value.sent
        [answer], link = await second.enqueue_durably([job("j1")])
        assert answer is Enqueued.SAME
        with pytest.raises(StoreUnavailable):  # though this connection has enqueued nothing new
            await second.settled(link, timeout_s=0.5)
        os.kill(pid, signal.SIGCONT)
        await second.settled(link, timeout_s=TIMEOUT_S)


async def test_those_who_come_while_a_replica_is_waited_for_are_not_held_up(
    replicated: tuple[str, int, Any],
) -> None:
    url, pid, _ = replicated
    async with opened(url) as store:
        await make_safe(store, "before")
        os.kill(pid, signal.SIGSTOP)
        first = asyncio.create_task(make_safe(store, "j1"))
        await asyncio.sleep(0)
        later = [await store.enqueue_durably([job(f"later-{number}")]) for number in range(3)]
        assert [answers for answers, _ in later] == [[Enqueued.NEW]] * 3
        os.kill(pid, signal.SIGCONT)
        await asyncio.gather(first, *[store.settled(link, timeout_s=TIMEOUT_S) for _, link in later])


# --- where nothing can be made safe


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--appendonly", "no"), "append-only file is off and it has no replica; set appendonly yes"),
        (("--appendonly", "yes", "--appendfsync", "no"), r"appendfsync no\); set appendfsync everysec or always"),
        (PAUSING, r"no-appendfsync-on-rewrite yes\); set that to no there"),
        ((*PAUSING, "--appendfsync", "always"), r"no-appendfsync-on-rewrite yes\); set that to no there"),
    ],
)
async def test_where_nothing_can_be_made_safe_nothing_is_sent(
    kind: servers.Kind, options: tuple[str, ...], why: str, server_folder: Path
) -> None:
    if servers.find(kind) is None:
        pytest.skip(f"no {kind} server here")
    with servers.running(kind, server_folder, *options) as server:
        async with opened(server.url) as store, Redis.from_url(server.url) as raw:
            with pytest.raises(NotDurable, match=why) as caught:
                await store.enqueue_durably([job("j1")])
            assert "nothing was queued" in str(caught.value)
            assert await raw.dbsize() == 0


async def test_what_does_not_fit_its_queue_is_refused_and_the_rest_is_made_safe(server_folder: Path) -> None:
    with servers.running("valkey", server_folder, "--appendonly", "yes", "--appendfsync", "always") as server:
        async with opened(server.url) as store:
            (first, second), link = await store.enqueue_durably([job("j1", max_len=1), job("j2", max_len=1)])

            assert first is Enqueued.NEW
            assert isinstance(second, QueueFull)
            assert await store.read("j2") is None
            await store.settled(link, timeout_s=TIMEOUT_S)


async def test_in_memory_nothing_is_sent_either(namespace: str) -> None:
    async with opened(f"memory://{namespace}") as store:
        with pytest.raises(NotDurable, match="this process's memory"):
            await store.enqueue_durably([job("j1")])
        assert await store.read("j1") is None


async def test_a_user_who_may_not_read_the_policy_is_told_which_right_is_missing(server_folder: Path) -> None:
    with servers.running("valkey", server_folder, "--appendonly", "yes") as server:
        async with Redis.from_url(server.url) as raw:
            await raw.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+@all", "-config")
        async with opened(server.url.replace("unix://", "unix://poor:pw@")) as store:
            with pytest.raises(NotDurable, match=r"\+config\|get"):
                await store.enqueue_durably([job("j1")])


@pytest.mark.parametrize("kind", REAL)
async def test_a_service_with_the_rights_of_the_page_gets_its_jobs_safe(
    kind: servers.Kind, server_folder: Path
) -> None:
    if servers.find(kind) is None:
        pytest.skip(f"no {kind} server here")
    with servers.running(kind, server_folder, "--appendonly", "yes", "--appendfsync", "always") as server:
        async with Redis.from_url(server.url) as raw:
            rights = f"{acl.rules('producer', namespace='own', password='pw')} {acl.durable()}".split()
            if not servers.at_least(kind, 7, 2):  # as the page says
                rights.remove("+waitaof")
            await raw.execute_command("ACL", "SETUSER", "shop", *rights)
        async with opened(server.url.replace("unix://", "unix://shop:pw@")) as store:
            assert await make_safe(store, "j1") is Enqueued.NEW


async def test_a_policy_that_is_changed_meanwhile_is_noticed(server_folder: Path) -> None:
    with servers.running("valkey", server_folder, "--appendonly", "yes", "--appendfsync", "everysec") as server:
        async with opened(server.url) as store, Redis.from_url(server.url) as raw:
            _, link = await store.enqueue_durably([job("j1")])
            await raw.config_set("appendfsync", "no")
            with pytest.raises(NotDurable):
                await store.settled(link, timeout_s=TIMEOUT_S)
            _, link = await _after(raw.config_set("appendfsync", "always"), store, "j2")
            await raw.config_set("appendonly", "no")
            with pytest.raises(StoreUnavailable, match="switched off"):
                await store.settled(link, timeout_s=TIMEOUT_S)


async def _after(change: Any, store: Store, job_id: str) -> tuple[Any, int]:
    await change
    return await store.enqueue_durably([job(job_id)])


# --- faults


async def test_after_a_broken_connection_it_has_to_be_enqueued_again(server_folder: Path) -> None:
    """At the same address another server may answer by now, which has never heard of the job."""
    with servers.running("valkey", server_folder, "--appendonly", "yes", "--appendfsync", "always") as server:
        upstream = server.url.removeprefix("unix://")
        async with FaultProxy(upstream, server_folder / "p") as proxy, opened(proxy.url, timeout_s=2) as store:
            _, link = await store.enqueue_durably([job("j1")])
            proxy.cut_all()
            with pytest.raises(StoreUnavailable):
                await store.settled(link, timeout_s=TIMEOUT_S)
            [answer], again = await store.enqueue_durably([job("j1")])
            assert (answer, again > link) == (Enqueued.SAME, True)
            await store.settled(again, timeout_s=TIMEOUT_S)
            with pytest.raises(StoreUnavailable, match="the connection broke"):
                await store.settled(link, timeout_s=TIMEOUT_S)


async def test_a_server_that_is_silent_before_anything_is_enqueued_was_sent_nothing(server_folder: Path) -> None:
    with servers.running("valkey", server_folder, "--appendonly", "yes", "--appendfsync", "always") as server:
        upstream = server.url.removeprefix("unix://")
        async with FaultProxy(upstream, server_folder / "p") as proxy, opened(proxy.url, timeout_s=0.5) as store:
            proxy.arm(Fault.BLACK_HOLE, "appendfsync", times=100)
            with pytest.raises(StoreUnavailable) as caught:
                await store.enqueue_durably([job("j1")])
            assert not caught.value.sent


@pytest.mark.parametrize("timeout_s", [0.2, 0.5])
async def test_a_server_that_is_silent_once_a_job_was_enqueued_has_perhaps_got_it(
    server_folder: Path, timeout_s: float
) -> None:
    """timeout_s: with less than a whole one left, the caller gives up before the connection does."""
    with servers.running("valkey", server_folder, "--appendonly", "yes", "--appendfsync", "always") as server:
        upstream = server.url.removeprefix("unix://")
        async with FaultProxy(upstream, server_folder / "p") as proxy, opened(proxy.url, timeout_s=0.5) as store:
            await make_safe(store, "before")
            proxy.arm(Fault.BLACK_HOLE, scripts.ENQUEUE.sha, times=100)
            with pytest.raises(StoreUnavailable) as caught:
                await store.enqueue_durably([job("j1")], timeout_s=timeout_s)
            assert proxy.hits
            assert caught.value.sent


async def test_a_refusal_is_told_as_such(server_folder: Path) -> None:
    with servers.running("valkey", server_folder, "--appendonly", "yes", "--appendfsync", "always") as server:
        async with opened(server.url, timeout_s=1) as store, Redis.from_url(server.url) as raw:
            await raw.config_set("maxmemory", 1)
            with pytest.raises(StoreFull):
                await store.enqueue_durably([job("j1")])
            await raw.config_set("maxmemory", 0)
            await raw.config_set("min-replicas-to-write", 1)
            with pytest.raises(StoreRefused, match="NOREPLICAS"):
                await store.enqueue_durably([job("j1")])


async def test_whoever_waits_as_the_store_is_closed_is_told(server_folder: Path) -> None:
    with servers.running("valkey", server_folder, "--appendonly", "yes", "--appendfsync", "everysec") as server:
        async with opened(server.url) as store:
            _, link = await store.enqueue_durably([job("j1")])
            waiting = asyncio.create_task(store.settled(link, timeout_s=TIMEOUT_S))
            await asyncio.sleep(0)
            await store.close()
            with pytest.raises(StoreUnavailable, match="closed"):
                await waiting
