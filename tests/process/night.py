"""A system in which five things are wrong at once: what docs/a-night.md walks through.

A worker with a job that can't be ended, a job that kills its workers, a paused queue, a job of a mistyped task, and a
server that is full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiotq import App
from tests.process.commands import aiotq
from tests.process.ledger import until
from tests.processes import PATH, WorkerProcess, spawn

if TYPE_CHECKING:
    from aiotq import Job
    from tests.process.rig import Rig

SHOP = '''
import asyncio
import os
import signal

from aiotq import App

app = App()

@app.task(queue="mail")
async def send_mail(to: str) -> None: ...

@app.task(queue="reports", timeout=0.2, retries=0)
async def report(day: str) -> None:
    """Swallows its own cancellation, as a careless `except` does."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

@app.task(queue="images")
async def thumbnail(path: str) -> None:
    """Takes its process with it, as a bug in a C library does."""
    os.kill(os.getpid(), signal.SIGKILL)
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What was prepared."""

    anna: WorkerProcess  # holds the job that can't be ended
    bob: WorkerProcess  # a supervisor, whose process the poison kills
    stuck: Job[Any]
    poison: Job[Any]
    mails: list[Job[Any]]  # in the paused queue
    mistyped: Job[Any]


async def prepare(rig: Rig) -> Night:
    """Bring it about."""
    await rig.start_server("--save", "31536000", "1")
    (rig.folder / "shop.py").write_text(SHOP, "utf-8")
    shop = App(rig.url, namespace=rig.namespace)
    tasks = {name: _task(shop, f"shop:{name}", queue) for name, queue in QUEUES.items()}
    async with shop:
        anna = await _worker(rig, "-q", "default,mail,reports", "-c", "3", "--name", "anna")
        await anna.line("ready")
        stuck = await tasks["report"].delay("2026-01-30")
        bob = await _worker(rig, "-q", "images", "--name", "bob", "--processes", "1")
        await bob.line("ready")
        poison = await tasks["thumbnail"].delay("lamp.png")
        await rig.all_ended([stuck, poison], within_s=150)
        await aiotq(rig, "pause", "mail")
        mails = [await tasks["send_mail"].delay(f"{name}@example.org") for name in ("ada", "bob", "eve")]
        mistyped = await tasks["send_mial"].delay("zoe@example.org")

        async def told() -> bool:
            workers = (await aiotq(rig, "workers", "--json")).json
            alive = {worker["label"]: worker["stuck"] for worker in workers}
            findings = (await aiotq(rig, "status", "--json")).json["findings"]
            guessed = any("looks like" in one["what"] for one in findings if one["code"] == "task_unknown")
            return alive.get("anna") == 1 and len(alive) == 2 and guessed

        await until(told, "both workers have said how they do, and anna what the mistyped task may be", within_s=150)
    await rig.raw.config_set("maxmemory", "1mb")
    return Night(anna=anna, bob=bob, stuck=stuck, poison=poison, mails=mails, mistyped=mistyped)


QUEUES = {"send_mail": "mail", "report": "reports", "thumbnail": "images", "send_mial": "default"}


def _task(app: App, name: str, queue: str) -> Any:
    """The sender's side."""

    async def anything(_what: str) -> None: ...

    return app.task(name=name, queue=queue)(anything)


async def _worker(rig: Rig, *options: str) -> WorkerProcess:
    env = {"AIOTQ_URL": rig.url, "AIOTQ_NAMESPACE": rig.namespace, "PYTHONPATH": PATH}
    worker = await spawn("shop:app", *options, env=env, cwd=rig.folder)
    rig.crew.append(worker)
    return worker
