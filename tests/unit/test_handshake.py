"""From the options of a URL to a connection: what is said of one that breaks on the way."""

from __future__ import annotations

import asyncio
import errno
import socket
from asyncio.trsock import TransportSocket
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from aiotq.errors import StoreRefused
from aiotq.store.connection.handshake import drop
from aiotq.store.connection.route import route
from tests.faults.fake_server import answering

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_server_that_refuses_before_a_word_is_written_is_heard(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes to a connection that is closed already no longer hears what was said on it."""
    opens = asyncio.open_unix_connection

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-ERR max number of clients reached\r\n")
        writer.close()
        await writer.wait_closed()
        closed.set()

    async def open_late(path: str) -> Any:
        found = await opens(path)
        await closed.wait()
        closed.clear()
        return found

    closed = asyncio.Event()
    monkeypatch.setattr(asyncio, "open_unix_connection", open_late)
    async with await asyncio.start_unix_server(refuse, server_folder / "s"):
        with pytest.raises(StoreRefused) as caught:
            await route(f"unix://{server_folder}/s", limit_s=5).connected()
    assert caught.value.code == "MAXCLIENTS"


async def test_without_a_descriptor_for_a_second_ear_a_connection_is_made_all_the_same(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: object) -> None:
        asked.append(True)
        raise OSError(errno.EMFILE, "Too many open files")

    asked: list[bool] = []
    monkeypatch.setattr(TransportSocket, "dup", none_left)
    async with answering(lambda _: None) as port:
        await drop(await route(f"redis://127.0.0.1:{port}", limit_s=5).connected())
    assert asked


async def test_the_second_ear_is_closed_once_a_connection_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    dup = TransportSocket.dup

    def keep(twin: TransportSocket) -> socket.socket:
        ears.append(dup(twin))
        return ears[-1]

    ears: list[socket.socket] = []
    monkeypatch.setattr(TransportSocket, "dup", keep)
    async with answering(lambda _: None) as port:
        await drop(await route(f"redis://127.0.0.1:{port}", limit_s=5).connected())
    assert [ear.fileno() for ear in ears] == [-1]


async def test_a_server_that_closes_without_a_word_is_away(server_folder: Path) -> None:
    async with await asyncio.start_unix_server(lambda _, writer: writer.close(), server_folder / "s"):
        with pytest.raises(RedisConnectionError):
            await route(f"unix://{server_folder}/s", limit_s=5).connected()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_a_connection_that_breaks_under_a_write_before_a_wire_has_it_is_no_complaint_of_asyncios(
    server_folder: Path, kind: str
) -> None:
    """Else it may be said as a process ends: "Future exception was never retrieved"."""

    async def unix(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"+OK\r\n")
        writer.close()
        over.set()

    over = asyncio.Event()

    async with answering(lambda _: None) as port, await asyncio.start_unix_server(unix, server_folder / "s"):
        url = f"redis://127.0.0.1:{port}" if kind == "tcp" else f"unix://{server_folder}/s"
        connection: Any = await route(url, limit_s=5).connected()
        writer = connection._writer
        protocol = writer.transport.get_protocol()
        ended = protocol._get_close_waiter(writer)

        protocol.connection_lost(BrokenPipeError())
        await asyncio.sleep(0)

        assert ended.done()
        assert not ended._log_traceback, "nobody has heard of it"
        await drop(connection)
        if kind == "unix":
            await over.wait()
