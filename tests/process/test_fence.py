"""`current_job().fence` in a database of the user's: what a worker that came back too late can't overwrite there."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.process.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path


def rows(database: Path, statement: str) -> list[tuple[int, ...]]:
    """What a statement gives."""
    with closing(sqlite3.connect(database)) as connection, connection:
        return connection.execute(statement).fetchall()


async def test_a_zombies_write_to_the_users_database_is_refused_there(rig: Rig):
    database = rig.folder / "bank.db"
    rows(database, "CREATE TABLE account (writer INTEGER, fence INTEGER NOT NULL)")
    rows(database, "CREATE TABLE attempt (writer INTEGER, fence INTEGER, changed INTEGER)")
    rows(database, "INSERT INTO account VALUES (0, 0)")
    await rig.start_server()
    zombie = await rig.worker("--lease", "1")
    (former,) = await rig.ids_of(zombie)
    job = await rig.tasks.book.delay(str(database))
    await rig.ledger.until(1, pid=zombie.pid)
    other = await rig.worker("--lease", "1")
    zombie.send_signal(signal.SIGSTOP)
    await other.line("reclaimed", worker=former)
    await rig.ledger.until(1, pid=other.pid)
    rig.open_gate()
    assert await job.result(timeout=20) is True
    zombie.send_signal(signal.SIGCONT)
    await rig.ledger.until(1, "end", pid=zombie.pid)
    (first, later) = sorted(rows(database, "SELECT fence, writer, changed FROM attempt"))
    assert first[1:] == (zombie.pid, 0), "its write changed nothing"
    assert later[1:] == (other.pid, 1)
    assert rows(database, "SELECT writer, fence FROM account") == [(other.pid, later[0])]
    await zombie.line("lease_lost")
    await rig.stop(other, zombie)
    await rig.check([job], may_repeat={job.id})


async def test_a_fence_grows_although_the_server_has_lost_everything(rig: Rig):
    """As after FLUSHALL, a restart without its data, or a failover to a replica that lagged behind."""
    database = rig.folder / "bank.db"
    rows(database, "CREATE TABLE account (writer INTEGER, fence INTEGER NOT NULL)")
    rows(database, "CREATE TABLE attempt (writer INTEGER, fence INTEGER, changed INTEGER)")
    rows(database, "INSERT INTO account VALUES (0, 0)")
    rig.open_gate()
    await rig.start_server()
    worker = await rig.worker()
    assert await (await rig.tasks.book.delay(str(database))).result(timeout=20) is True
    await rig.raw.flushall()
    assert await (await rig.tasks.book.delay(str(database))).result(timeout=20) is True
    await rig.kill_server()
    await worker.line("store_down")
    await rig.start_server()
    await worker.line("store_up")
    assert await (await rig.tasks.book.delay(str(database))).result(timeout=20) is True
    fences = [fence for (fence,) in rows(database, "SELECT fence FROM attempt ORDER BY rowid")]
    assert fences == sorted(set(fences))
    await rig.stop(worker)
