"""What a server may answer instead of serving: each one clear error of aiotq's, and no password in it."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from aiotq.errors import StoreError, StoreRefused, StoreUnavailable, StoreUnusable
from aiotq.store import connect
from aiotq.store.contract import Enqueued, Replaced, WorkerCard
from tests import servers
from tests.contract.kit import job, replacement, succeeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiotq.store.contract import Store

SECRET = "S3CR3T"


class _Own:
    """A server of the test's own, and stores on it."""

    def __init__(self, url: str, raw: Any) -> None:
        self.url, self.raw = url, raw
        self.stores: list[Store] = []

    def store(self, credentials: str = "", *, timeout_s: float = 1) -> Store:
        made = connect(
            self.url.replace("unix://", f"unix://{credentials}"), namespace="own", connect_timeout_s=timeout_s
        )
        self.stores.append(made)
        return made


@pytest_asyncio.fixture(params=["valkey", "redis"])
async def own(request: pytest.FixtureRequest, server_folder: Path) -> AsyncIterator[_Own]:
    if servers.find(request.param) is None:
        pytest.skip(f"no {request.param} server here")
    with servers.running(request.param, server_folder) as server:
        raw: Any = Redis.from_url(server.url, socket_timeout=60)  # a reload takes longer than the usual 5 s
        made = _Own(server.url, raw)
        yield made
        await raw.aclose()
        for store in made.stores:
            await store.close()


async def test_a_read_only_replica_is_refused_at_the_start_and_later(own: _Own) -> None:
    early = own.store()
    await early.open()
    await own.raw.replicaof("127.0.0.1", "1")

    with pytest.raises(StoreRefused) as caught:
        await own.store().open()
    assert caught.value.code == "READONLY"
    with pytest.raises(StoreRefused) as caught:
        await early.enqueue([job("j1")])
    assert (caught.value.code, caught.value.verb) == ("READONLY", "enqueue")

    await own.raw.replicaof("NO", "ONE")
    await early.enqueue([job("j1")])


async def test_a_sender_gets_through_once_the_server_is_a_primary_again(own: _Own) -> None:
    store = own.store(timeout_s=5)
    await store.open()
    await own.raw.replicaof("127.0.0.1", "1")
    before = (await own.raw.info("stats"))["total_error_replies"]
    sending = asyncio.ensure_future(store.enqueue([job("j1")]))
    while (await own.raw.info("stats"))["total_error_replies"] < before + 2:
        pass  # it has not been refused twice yet
    await own.raw.replicaof("NO", "ONE")

    async with asyncio.timeout(5):
        await sending


async def _until_refused(own: _Own, word: str, *, times: int = 1) -> None:
    """Ask until the server has refused so often with that word."""
    asking: Any = Redis.from_url(own.url)
    async with asyncio.timeout(5):
        while times:
            try:
                await asking.get("x")
            except RedisError as error:
                times -= word in str(error).upper()
    await asking.aclose()


async def test_a_server_without_its_replicas_does_nothing(own: _Own) -> None:
    store = own.store()
    await store.open()
    await own.raw.config_set("min-replicas-to-write", 1)

    with pytest.raises(StoreRefused) as caught:
        await store.enqueue([job("j1")])

    assert caught.value.code == "NOREPLICAS"
    await own.raw.config_set("min-replicas-to-write", 0)
    await store.enqueue([job("j1")])


async def test_a_server_busy_with_another_script_is_waited_for(own: _Own) -> None:
    store = own.store(timeout_s=5)
    await store.open()
    await own.raw.config_set("lua-time-limit", 20)
    endless = Redis.from_url(own.url, socket_timeout=None)
    looping = asyncio.ensure_future(endless.eval("while true do end", 0))
    await _until_refused(own, "BUSY")
    sending = asyncio.ensure_future(store.enqueue([job("j1")]))
    await _until_refused(own, "BUSY", times=50)
    await own.raw.script_kill()

    async with asyncio.timeout(5):
        await sending
        with pytest.raises(Exception, match=r"(?i)killed"):
            await looping
    await endless.aclose()


async def test_a_server_that_is_still_loading_is_waited_for_and_named_if_it_takes_too_long(own: _Own) -> None:
    servers.skip_if_it_loads_in_one_go("valkey")
    patient, hasty = own.store(timeout_s=20), own.store(timeout_s=2)
    for store in (patient, hasty):
        await store.open()
    for setting, value in (("key-load-delay", 8_000), ("loading-process-events-interval-bytes", 1_024)):
        await own.raw.config_set(setting, value)
    await own.raw.mset({f"k{number}": "x" * 2_048 for number in range(500)})
    loading = asyncio.ensure_future(own.raw.execute_command("DEBUG", "RELOAD"))
    await _until_refused(own, "LOADING")

    with pytest.raises(StoreError) as caught:
        await hasty.enqueue([job("j1")])
    # It answers now and then only: the answer to the last try may be late.
    assert getattr(caught.value, "code", "LOADING") == "LOADING"
    assert isinstance(caught.value, StoreRefused | StoreUnavailable)
    async with asyncio.timeout(20):
        assert await patient.enqueue([job("j1")]) == [Enqueued.NEW]
    await loading


async def test_a_wrong_password_is_one_clear_error_that_does_not_show_it(own: _Own) -> None:
    await own.raw.config_set("requirepass", "right")

    for credentials in ("", f":{SECRET}@", f"somebody:{SECRET}@"):
        store = own.store(credentials)
        with pytest.raises(StoreUnusable) as caught:
            await store.open()
        assert "password" in str(caught.value)
        assert SECRET not in f"{caught.value}{caught.value.url}{store.url}{store!r}"
    await own.store(":right@").open()


async def test_a_user_without_the_rights_is_told_so(own: _Own) -> None:
    await own.raw.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+@all", "-set", "-info")
    store = own.store("poor:pw@")

    with pytest.raises(StoreUnusable, match="right"):
        await store.enqueue([job("j1")])


async def test_a_user_of_this_namespace_alone_can_do_it_all(own: _Own) -> None:
    rules = (
        "on >pw ~{own}:* resetchannels &{own}:* -@all +@connection +@read +@write +@pubsub +@scripting +info +time "
        "-@dangerous +info"
    )
    await own.raw.execute_command("ACL", "SETUSER", "owner", *rules.split())
    store = own.store("owner:pw@")
    await store.open()
    await store.enqueue([job("j1")])
    ended = store.ended("j1")
    assert await anext(ended) == await store.read("j1")
    await ended.aclose()  # type: ignore[attr-defined]
    foreign = connect(own.url.replace("unix://", "unix://owner:pw@"), namespace="other", connect_timeout_s=1)
    with pytest.raises(StoreUnusable):
        await foreign.enqueue([job("j1")])
    await foreign.close()


async def test_a_worker_that_may_not_publish_stores_every_outcome(own: _Own) -> None:
    rules = "on >pw ~{own}:* resetchannels -@all +@connection +@read +@write +@pubsub +@scripting +info +time"
    await own.raw.execute_command("ACL", "SETUSER", "mute", *rules.split())
    store, waiter = own.store("mute:pw@"), own.store()
    await store.enqueue([job("j1"), job("j2"), job("j3", delay_ms=10_000)])
    ended = waiter.ended("j1")
    await anext(ended)
    await store.register(WorkerCard(worker_id="w1", label="w", host="h", pid=1, queues=["mail"], lease_ms=15_000))
    claimed = (await store.exchange("w1", [], queues=["mail"], limit=2)).claimed

    reply = await store.exchange("w1", [succeeded(one) for one in claimed], queues=["mail"], limit=0)

    assert (reply.stored, reply.active) == ([True, True], 0)
    assert await store.replace(replacement("j3")) is Replaced.DONE
    await ended.aclose()  # type: ignore[attr-defined]


async def test_who_waits_on_a_server_that_refuses_writes_goes_on_waiting(own: _Own) -> None:
    store = own.store()
    await store.enqueue([job("j1")])
    await own.raw.config_set("min-replicas-to-write", 1)
    ended = store.ended("j1")

    assert await anext(ended) is None, "read it"

    await own.raw.config_set("min-replicas-to-write", 0)
    await ended.aclose()  # type: ignore[attr-defined]


async def test_what_is_no_redis_is_named_as_such() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n" * 3)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = connect(f"redis://:{SECRET}@127.0.0.1:{port}", namespace="own", connect_timeout_s=1)

    with pytest.raises(StoreUnusable) as caught:
        await store.open()

    assert f"127.0.0.1:{port}" in str(caught.value)
    assert SECRET not in str(caught.value)
    await store.close()
    server.close()
    await server.wait_closed()


async def test_an_address_where_nothing_listens_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = connect(f"redis://:{SECRET}@127.0.0.1:{port}/0", namespace="own", connect_timeout_s=0.3)

    with pytest.raises(StoreUnavailable) as caught:
        await store.open()

    assert f"127.0.0.1:{port}" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert not caught.value.sent
    await store.close()
