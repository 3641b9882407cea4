"""A server that is there, and says nothing."""

from __future__ import annotations

import time

import pytest

from aiotq.errors import StoreUnavailable
from aiotq.store import connect
from tests.faults.fake_server import SILENCE, answering


async def test_a_server_that_accepts_and_says_nothing_keeps_no_listener_waiting():
    async with answering(lambda _: SILENCE) as port:
        store = connect(f"redis://127.0.0.1:{port}", namespace="test", connect_timeout_s=0.2)
        ended = store.ended("j1")
        began_s = time.monotonic()

        with pytest.raises(StoreUnavailable, match=r"no answer after 0\.2 s"):
            await anext(ended)

        assert time.monotonic() - began_s < 2
        await store.close()
