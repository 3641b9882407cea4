"""A server on a port of its own that answers each command as a test says: as a sentinel, a replica, or a parrot."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import hiredis

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    Answers = Callable[[list[str]], Any]


class Error(str):
    """Answered as an error."""

    __slots__ = ()


SILENCE = object()  # no answer at all


@asynccontextmanager
async def answering(answers: Answers, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Listen; yields the port. answers: from the words of a command to its answer; None is OK."""
    open_ones: dict[asyncio.Task[Any] | None, asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones[asyncio.current_task()] = writer
        parser = hiredis.Reader()
        with suppress(OSError, hiredis.ProtocolError):
            while data := await reader.read(1 << 16):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    answer = answers([word.decode() for word in command])
                    if answer is not SILENCE:
                        writer.write(_packed(answer))
        if not writer.is_closing():
            writer.write(b"-ERR Protocol error\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_ones.values():
            writer.transport.abort()
        if tasks := [task for task in open_ones if task is not None]:
            await asyncio.wait(tasks)
        await server.wait_closed()


def sentinel(
    *, knows: str = "jobs", master: tuple[str, int] = ("127.0.0.1", 1), epoch: int = 0, flags: str = "master"
) -> Answers:
    """One that watches one service."""
    fields = {"name": knows, "ip": master[0], "port": str(master[1]), "flags": flags, "config-epoch": str(epoch)}
    flat = [word for pair in fields.items() for word in pair]

    def answer(command: list[str]) -> Any:
        match [command[0].upper(), *command[1:]]:
            case ["SENTINEL", "MASTER", name] if name == knows:
                return flat
            case ["SENTINEL", "MASTER", _]:
                return Error("ERR No such master with that name")
            case ["SENTINEL", "MASTERS"]:
                return [flat]
        return None

    return answer


def server(role: str = "master") -> Answers:
    """One that says what it is, and answers a PING."""

    def answer(command: list[str]) -> Any:
        match command[0].upper():
            case "ROLE":
                return [role, 0, []]
            case "INFO":
                return "redis_version:7.0.0\r\nrole:master\r\n"
        return None

    return answer


def _packed(answer: Any) -> bytes:
    match answer:
        case None:
            return b"+OK\r\n"
        case Error():
            return f"-{answer}\r\n".encode()
        case int():
            return f":{answer}\r\n".encode()
        case list():
            return f"*{len(answer)}\r\n".encode() + b"".join(_packed(one) for one in answer)
    return f"${len(answer)}\r\n{answer}\r\n".encode()
