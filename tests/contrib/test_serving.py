"""The exporter's server: what is no request, who is slow, and a page that fails."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from aiotq import probes
from aiotq.contrib import serving
from tests.worker.kit import within

if TYPE_CHECKING:
    import socket


async def page(accept: str) -> tuple[bytes, str]:
    return f"accept={accept}\n".encode(), "text/plain; version=0.0.4"


async def ask(listening: socket.socket, request: bytes) -> bytes:
    async with within():
        reader, writer = await asyncio.open_connection(*listening.getsockname()[:2])
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionError:  # closed while more was on its way
            return b""
        finally:
            writer.close()


@pytest.fixture
def listening() -> socket.socket:
    return probes.listen("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: a/b\r\n\r\n", b"200 OK", b"accept=a/b\n"),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"200 OK", b"accept=\n"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200 OK", b""),
        (b"GET /livez HTTP/1.1\r\n\r\n", b"200 OK", b"ok\n"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found", b"there are /metrics and /livez\n"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed", b"only GET and HEAD are answered\n"),
        (b"\x16\x03\x01\r\n\r\n", b"400 Bad Request", b"this is no request; ask: GET /metrics\n"),
        (b"\r\n\r\n", b"400 Bad Request", b"this is no request; ask: GET /metrics\n"),
    ],
)
async def test_what_is_answered(listening: socket.socket, request_: bytes, status: bytes, body: bytes) -> None:
    async with serving.serving(listening, page):
        answer = await ask(listening, request_)
    head, _, said = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert said == body


async def test_a_request_without_an_end_is_left_after_a_while(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HEARD_S", 0.05)
    async with serving.serving(listening, page):
        assert await ask(listening, b"GET /metrics HTTP/1.1\r\n") == b""
        assert await ask(listening, b"x" * 100_000) == b""
        assert await ask(listening, b"GET /livez HTTP/1.1\r\n\r\n")


async def test_a_page_that_fails_or_takes_too_long_is_said_and_the_next_is_answered(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "ANSWERED_S", 0.05)
    pages = iter([ValueError("no"), None])

    async def broken(accept: str) -> tuple[bytes, str]:
        match next(pages, accept):
            case ValueError() as error:
                raise error
            case None:
                await asyncio.Event().wait()
        return b"", "text/plain"

    request = b"GET /metrics HTTP/1.1\r\n\r\n"
    async with serving.serving(listening, broken):
        with caplog.at_level(logging.ERROR):
            assert b" 500 " in await ask(listening, request)
        assert b" 503 " in await ask(listening, request)
        assert b" 200 " in await ask(listening, request)
    assert [record.name for record in caplog.records] == ["aiotq.metrics"]


async def test_callers_who_only_hold_connections_are_bounded_and_gone_at_the_end(listening: socket.socket) -> None:
    async with serving.serving(listening, page):
        held = [await asyncio.open_connection(*listening.getsockname()[:2]) for _ in range(serving.MAX_CONNECTIONS)]
        assert await ask(listening, b"GET /livez HTTP/1.1\r\n\r\n") == b""
    for reader, writer in held:
        async with within():
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
