"""A link on a real socket, against a server of a few lines."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from redis.exceptions import InvalidResponse, NoScriptError, ResponseError

from aiotq.store.connection.link import SocketLink, linked


class Far:
    """The other end: what it has received, and a way to answer."""

    def __init__(self) -> None:
        self.received = b""
        self.writer: Any = None
        self.serving: asyncio.Task[None] | None = None
        self.news = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer, self.serving = writer, asyncio.current_task()
        while data := await reader.read(65536):
            self.received += data
            self.news.set()
        writer.close()

    async def got(self, wanted: bytes) -> None:
        async with asyncio.timeout(5):
            while self.received != wanted:
                self.news.clear()
                await self.news.wait()


class Near:
    """What a link told."""

    def __init__(self) -> None:
        self.replies: list[Any] = []
        self.losses: list[Exception] = []
        self.news = asyncio.Event()

    def replied(self, reply: Any) -> None:
        self.replies.append(reply)
        self.news.set()

    def lost(self, error: Exception) -> None:
        self.losses.append(error)
        self.news.set()

    async def told(self, replies: int = 0, losses: int = 0) -> None:
        async with asyncio.timeout(5):
            while (len(self.replies), len(self.losses)) != (replies, losses):
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def pair():
    far, near = Far(), Near()
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    reader, writer = await asyncio.open_connection(host, port)
    connection: Any = SimpleNamespace(_writer=writer, _reader=reader)
    link = linked(connection, replied=near.replied, lost=near.lost)
    try:
        yield far, near, link
    finally:
        link.drop()
        if far.serving is not None:
            await asyncio.wait([far.serving])
        server.close()
        await server.wait_closed()


async def test_replies_come_in_order_however_the_bytes_are_cut() -> None:
    async with pair() as (far, near, link):
        link.write(b"*1\r\n$4\r\nPING\r\n")
        await far.got(b"*1\r\n$4\r\nPING\r\n")
        far.writer.write(b"+PONG\r\n$3\r\nab")
        await near.told(1)
        far.writer.write(b"c\r\n*2\r\n:1\r\n$-1\r\n")
        await near.told(3)

    assert near.replies == [b"PONG", b"abc", [1, None]]
    assert near.losses == [], "one that is dropped tells nothing"


async def test_several_commands_go_out_together() -> None:
    async with pair() as (far, _, link):
        link.write_all([b"a", b"b", b"c"])
        await far.got(b"abc")


async def test_error_replies_are_told_with_their_code() -> None:
    async with pair() as (far, near, link):
        link.write(b"x")
        await far.got(b"x")
        far.writer.write(b"-NOSCRIPT No matching script.\r\n-OOM command not allowed\r\n")
        await near.told(2)

    assert [type(reply) for reply in near.replies] == [NoScriptError, ResponseError]
    assert [str(reply) for reply in near.replies] == ["NOSCRIPT No matching script.", "OOM command not allowed"]


async def test_a_connection_that_ends_is_told_once() -> None:
    async with pair() as (far, near, link):
        link.write(b"x")
        await far.got(b"x")
        far.writer.write(b"+last\r\n")
        far.writer.close()
        await near.told(1, 1)

    assert near.replies == [b"last"]
    assert isinstance(near.losses[0], ConnectionResetError)


async def test_what_is_written_to_a_broken_connection_is_lost_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as (_, near, link):
        assert isinstance(link, SocketLink)
        link._transport.abort()
        for _ in range(20):
            link.write(b"x")
        link.write_all([b"x"] * 20)
        await near.told(0, 1)

    assert not caplog.records


async def test_what_is_no_redis_is_told_as_that() -> None:
    async with pair() as (far, near, link):
        link.write(b"x")
        await far.got(b"x")
        far.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await near.told(0, 1)

    assert isinstance(near.losses[0], InvalidResponse)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_socket_of_either_loop_is_parsed_as_it_arrives(new_loop: Any) -> None:
    async def meet() -> type:
        async with pair() as (far, near, link):
            link.write(b"x")
            await far.got(b"x")
            far.writer.write(b"+OK\r\n")
            await near.told(1)
            return type(link)

    loop = new_loop()
    try:
        assert loop.run_until_complete(meet()) is SocketLink
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
