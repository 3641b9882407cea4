"""What a cold reading of the store found: each test failed before its fix."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from redis.asyncio import Redis

from aiotq.errors import StoreUnavailable, StoreUnusable
from aiotq.store import connect
from tests import servers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from aiotq.store.contract import Renewed
    from tests.contract.kit import Bench
    from tests.faults.proxy import FaultProxy


@pytest.mark.parametrize("server", ["valkey", "acl"], indirect=True)
async def test_many_callers_whose_time_ends_one_after_the_other_leave_a_store_that_works(
    far: Bench, proxy: FaultProxy
) -> None:
    await far.worker()
    await far.renew()
    proxy.freeze()
    loop = asyncio.get_running_loop()
    calls: list[asyncio.Future[Renewed]] = []
    for number in range(200):  # their times end some 30 µs apart: one of them as the one before it is cleared away
        calls.append(asyncio.ensure_future(far.renew()))
        until_s = loop.time() + 3e-5
        while loop.time() < until_s:
            pass
        if number % 5 == 0:
            await asyncio.sleep(0)

    answers = await asyncio.gather(*calls, return_exceptions=True)
    proxy.thaw()

    assert {type(answer) for answer in answers} == {StoreUnavailable}
    async with asyncio.timeout(0.9):
        assert (await far.renew()).alive


async def test_who_may_not_listen_is_told_so(server_folder: Path) -> None:
    with servers.running("valkey", server_folder) as server:
        raw: Any = Redis.from_url(server.url)
        await raw.execute_command("ACL", "SETUSER", "deaf", "on", ">pw", "~*", "+@all", "resetchannels")
        store = connect(server.url.replace("unix://", "unix://deaf:pw@"), namespace="own", connect_timeout_s=1)
        ended = cast("AsyncGenerator[bytes | None]", store.ended("j1"))

        with pytest.raises(StoreUnusable, match="right"):
            async with asyncio.timeout(5):
                await anext(ended)

        await store.close()
        await raw.aclose()
