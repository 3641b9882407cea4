"""`options(durable=True)`: what a caller knows once `delay()` has returned, and when it has raised.

No job runs here, so the invariants of tests/faults/invariants.py have nothing to compare: what counts is what lies in
the server's file, and that is looked into. That such jobs run, once, is tests/faults/test_power_loss.py's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from aiotq import App
from aiotq.errors import DurabilityUnknown, NotDurable
from aiotq.store import durable, embedded
from tests import disk
from tests.process.ledger import until
from tests.process.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW_S = 1.0


def app_of(url: str, *, timeout_s: float = 10) -> App:
    """An app of the test's own."""
    return App(url, namespace="durable", connect_timeout=timeout_s)


async def info(raw: Any) -> dict[str, Any]:
    """What the server says of its file."""
    return await raw.info("persistence")


async def test_what_is_durable_outlives_a_kill_that_loses_what_is_not(server_folder: Path):
    """While an fsync is under way the server answers, and keeps what it should write in its memory (decision 7)."""
    with disk.watched("valkey", server_folder, "--appendfsync", "everysec", slow_s=SLOW_S) as server:
        async with app_of(server.url) as app, Redis.from_url(server.url) as raw:
            note = Tasks(app).note
            safe = await asyncio.gather(*[note.options(durable=True).delay() for _ in range(20)])
            safe.append(await note.options(durable=True).delay())
            await note.delay()

            async def syncs() -> bool:
                return (await info(raw))["aof_pending_bio_fsync"] > 0

            await until(syncs, "an fsync is under way")
            plain = await note.delay()
            assert (await info(raw))["aof_buffer_length"] > 0
            os.kill(server.pid, signal.SIGKILL)
    with disk.watched("valkey", server_folder, "--appendfsync", "everysec") as server:
        async with Redis.from_url(server.url) as raw:
            there = [await raw.exists(f"{{durable}}:job:{job.id}") for job in safe]
            waiting: list[Any] = await raw.lrange("{durable}:line:default:5", 0, -1)
            assert there == [1] * len(safe)
            assert {ticket.decode().rpartition(":")[2] for ticket in waiting} >= {job.id for job in safe}
            assert await raw.exists(f"{{durable}}:job:{plain.id}") == 0, "the kill came too late to show the difference"
            records = await raw.keys("{durable}:job:*")
            assert len(records) == len(waiting), "each job is whole, or not there"


async def test_an_error_says_that_the_job_is_queued_and_a_repeat_of_the_same_id_waits_again(server_folder: Path):
    with disk.watched("valkey", server_folder, "--appendfsync", "everysec", slow_s=SLOW_S) as server:
        hasty, patient = app_of(server.url, timeout_s=0.5), app_of(server.url)
        async with hasty, patient, Redis.from_url(server.url) as raw:
            with pytest.raises(DurabilityUnknown, match="job order-17 is queued") as caught:
                await Tasks(hasty).note.options(durable=True, job_id="order-17").delay()
            assert caught.value.sent
            assert await raw.exists("{durable}:job:order-17")
            job = await Tasks(patient).note.options(durable=True, job_id="order-17").delay()
            assert job.existed
            assert server.held("order-17", by_s=disk.now_s())
            assert await raw.llen("{durable}:line:default:5") == 1


async def test_where_the_server_keeps_nothing_it_says_so_and_queues_nothing(server_folder: Path):
    with disk.watched("valkey", server_folder, "--appendonly", "no") as server:
        async with app_of(server.url) as app, Redis.from_url(server.url) as raw:
            note = Tasks(app).note
            for refused in (note.options(durable=True).delay(), app.enqueue_many([note.options(durable=True).s()])):
                with pytest.raises(NotDurable, match=r"append-only file is off.*nothing was queued"):
                    await refused
            assert await raw.dbsize() == 0


async def test_many_at_once_and_callers_without_a_loop_are_durable_too(server_folder: Path):
    with disk.watched("valkey", server_folder, "--appendfsync", "always", slow_s=0.05) as server:
        app = app_of(server.url)
        note = Tasks(app).note
        async with app:
            jobs = await app.enqueue_many(
                [note.s(), note.options(durable=True, job_id="of-many").s(), *[note.s()] * 998]
            )
            done_s = disk.now_s()
            assert server.held("of-many", by_s=done_s)
            assert all(server.held(job.id, by_s=done_s) for job in jobs[::100])
        job = await asyncio.to_thread(note.options(durable=True).delay_sync)
        assert server.held(job.id, by_s=disk.now_s())


async def test_a_third_connection_is_opened_only_for_durable_jobs(server_folder: Path):
    with disk.watched("valkey", server_folder, "--appendfsync", "always") as server:
        async with app_of(server.url) as app, Redis.from_url(server.url) as raw:
            note = Tasks(app).note
            await note.delay()
            before = len(await raw.client_list())
            await asyncio.gather(*[note.options(durable=True).delay() for _ in range(50)])
            assert len(await raw.client_list()) == before + 1


# --- the built-in server


@pytest.fixture
def directory(server_folder: Path) -> Iterator[Path]:
    """Of an embedded server, which is ended at the end."""
    folder = server_folder.resolve() / "data"
    yield folder
    embedded.stop(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_the_built_in_servers_file_is_brought_to_disk_before_the_call_returns(
    directory: Path, monkeypatch: pytest.MonkeyPatch
):
    synced: set[str] = set()
    real = durable._sync_file

    def watched(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        held = path.read_text("utf-8") if path.suffix == ".aof" else ""
        real(file)
        synced.update(word for word in ("the-first", "the-next", "of-many") if word in held)

    monkeypatch.setattr(durable, "_sync_file", watched)
    async with app_of(f"embedded://{directory}") as app:
        note = Tasks(app).note
        for job_id in ("the-first", "the-next"):
            assert job_id not in synced
            await note.options(durable=True, job_id=job_id).delay()
            assert job_id in synced
        await app.enqueue_many([note.options(durable=True, job_id="of-many").s()])
        assert "of-many" in synced
        repeated = await note.options(durable=True, job_id="the-first").delay()
        assert repeated.existed


async def test_a_disk_that_fails_is_no_promise(directory: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(file: int) -> None:
        raise OSError(5, os.strerror(5))

    async with app_of(f"embedded://{directory}", timeout_s=1) as app:
        await Tasks(app).note.delay()
        monkeypatch.setattr(durable, "_sync_file", fails)
        with pytest.raises(DurabilityUnknown, match=r"can't be brought to disk \(Input/output error\)"):
            await Tasks(app).note.options(durable=True).delay()
