"""What the tests about strangers who write to Redis share: records and tickets of theirs, and what becomes of them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aiotq import App
from aiotq.errors import InvalidRecord, JobFailed
from tests.worker.kit import until

if TYPE_CHECKING:
    from tests.worker.kit import Keys

MIB = 1 << 20


async def hello(name: Any = None) -> str:
    return f"Hello, {name}"


def record_of(document: dict[str, Any] | bytes, generation: str = "AAAA") -> bytes:
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return f"1w{generation}1800000000000".encode() + body


async def plant(keys: Keys, job_id: str, record: bytes, *, line: str = "default:5", generation: str = "AAAA") -> None:
    """A job as somebody else would write it."""
    await keys.set_record(job_id, record)
    await put_in_line(keys, f"{line}:{generation}:{job_id}")


async def put_in_line(keys: Keys, ticket: str) -> None:
    queue, place, *_ = ticket.split(":")
    await keys.client.rpush(f"{keys.prefix}line:{queue}:{place}", ticket)
    await keys.client.zadd(f"{keys.prefix}lines:{queue}", {place: int(place)})
    await keys.client.rpush(f"{keys.prefix}wake:{queue}", "1")
    await keys.client.pexpire(f"{keys.prefix}wake:{queue}", 60_000)


async def dead(app: App, job_id: str) -> JobFailed:
    """What it failed with, once it is a dead letter; who waits for a record that can't be read is told at once."""

    async def readable() -> bool:
        with suppress(InvalidRecord):
            return (await app.job(job_id).status()).ended
        return False

    await until(readable)
    with pytest.raises(JobFailed) as failed:
        await app.job(job_id).result(timeout=10)
    return failed.value
