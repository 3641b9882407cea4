"""What a caller is told of a request whose time is over, with a wire that plays."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.exceptions import NoPermissionError

from aiotq import App
from aiotq.cli.operate.reach import opened
from aiotq.errors import StoreUnavailable
from aiotq.store import ask, scripts
from aiotq.store.ask import Asker


async def nowhere() -> None:
    raise OSError("nothing is dialled here")


def asker() -> Asker:
    return Asker(nowhere, url="redis://here", prefix="{a}:", limit_s=1, left=lambda: None)  # type: ignore[arg-type]


async def test_a_request_whose_answer_comes_in_the_turn_in_which_its_time_is_over_counts_as_sent() -> None:
    """A script that is taught has its answer one turn later than its time is over: nothing is in flight by then."""
    asks, loop = asker(), asyncio.get_running_loop()
    end = loop.time() + 0.05

    async def attempt() -> None:
        reply: asyncio.Future[bytes] = loop.create_future()
        asks._wire.written += 1
        loop.call_at(end, reply.set_result, b"0")
        time.sleep(0.1)  # noqa: ASYNC251  the loop is late: both timers are due in one turn
        await asyncio.gather(reply)

    with pytest.raises(StoreUnavailable) as caught:
        await asks._by(end, attempt, verb="enqueue")
    assert caught.value.sent


async def test_what_may_have_come_is_not_repeated_for_longer_than_an_ended_job_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ask, "REPEATS_S", 0.2)
    asks = asker()

    async def attempt() -> None:
        raise StoreUnavailable("no answer", verb="enqueue", url="redis://here", sent=True)

    async with asyncio.timeout(10):
        with pytest.raises(StoreUnavailable) as caught:
            await asks._repeat(attempt, verb="enqueue", timeout_s=120)
    assert caught.value.sent


async def test_a_script_that_somebody_else_loads_just_now_counts_though_this_user_may_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asks, loop = asker(), asyncio.get_running_loop()

    def calls(*_: object) -> list[asyncio.Future[bytes]]:
        loaded, answer = loop.create_future(), loop.create_future()
        loaded.set_exception(NoPermissionError("no permissions to run the 'script|load' command"))
        answer.set_result(b"0")
        return [loaded, answer]

    monkeypatch.setattr(asks._wire, "calls", calls)
    assert await asks._teach(scripts.ENQUEUE, ("EVALSHA",), asks._wire) == b"0"


async def test_a_request_that_never_got_a_connection_counts_as_unsent() -> None:
    asks, loop = asker(), asyncio.get_running_loop()

    async def attempt() -> None:
        await loop.create_future()

    with pytest.raises(StoreUnavailable) as caught:
        await asks._by(loop.time() + 0.01, attempt, verb="enqueue")
    assert not caught.value.sent


NOBODY = "redis://127.0.0.1:1"


async def test_where_nobody_listens_an_operator_is_told_at_once_however_long_others_wait() -> None:
    async with asyncio.timeout(20):
        app = App(NOBODY, connect_timeout=120)
        with pytest.raises(StoreUnavailable, match="refused") as caught:
            await app.inspect.overview()
        assert caught.value.refused
        with pytest.raises(StoreUnavailable, match="refused"):
            async with opened(app):
                pass
        await app._core.close()


async def test_where_nobody_listens_all_others_go_on_trying_for_their_time() -> None:
    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        if tries < 20:
            raise StoreUnavailable("refused", verb="enqueue", url="redis://here", sent=False, refused=True)

    async with asyncio.timeout(30):
        await asker()._repeat(attempt, verb="enqueue", timeout_s=120)


async def test_one_that_may_have_been_sent_is_repeated_for_its_time_though_nobody_listens_then() -> None:
    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        if tries < 8:
            raise StoreUnavailable("gone", verb="read", url="redis://here", sent=tries == 1, refused=tries > 1)

    async with asyncio.timeout(30):
        await asker()._repeat(attempt, timeout_s=120, refused_s=0)
