"""Tasks with process=True and the process of their worker: killed, signalled, started by mistake."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest_asyncio

from tests.process import burn
from tests.process.ledger import Ledger, until
from tests.process.pool_rig import WITHIN_S, app, gone, ledger
from tests.processes import PATH

if TYPE_CHECKING:
    from aiotq import App
    from tests.processes import Spawn, WorkerProcess
    from tests.servers import Server

__all__ = ["app", "ledger"]  # fixtures


@pytest_asyncio.fixture
async def worker(app: App, spawn_worker: Spawn) -> WorkerProcess:
    return await spawn_worker("tests.process.burn:app", "--pool-processes", "2", "--grace", "20", "--lease", "1")


async def test_a_killed_worker_leaves_no_process(app: App, ledger: Ledger, worker: WorkerProcess) -> None:
    await burn.spin.options(retries=0).delay()
    await burn.match_for_ever.options(retries=0).delay()
    await ledger.until(2)
    pids = [entry.pid for entry in ledger.starts()]
    worker.send_signal(signal.SIGKILL)
    await worker.exit()
    await gone(*pids)
    async with app.worker(["elsewhere"], lease=1):  # it reclaims what the killed one had
        for job_id in {entry.job_id for entry in ledger.starts()}:
            await until(lambda job_id=job_id: _cancelled(app, job_id), "the end of the jobs")


async def test_what_a_task_has_started_ends_with_a_killed_worker(
    app: App, ledger: Ledger, worker: WorkerProcess
) -> None:
    job = await burn.breed.delay()
    await ledger.until(1)
    program = int(Path(os.environ["GATE"]).read_text())
    worker.send_signal(signal.SIGKILL)
    await worker.exit()
    await gone(ledger.starts()[0].pid, program)
    async with app.worker(["elsewhere"], lease=1):
        await until(lambda: _cancelled(app, job.id), "the end of the job")


async def _cancelled(app: App, job_id: str) -> bool:
    job = app.job(job_id)
    return await job.cancel() or (await job.status()).ended


async def test_signals_that_stop_a_service_are_the_workers_business(
    app: App, ledger: Ledger, worker: WorkerProcess
) -> None:
    job = await burn.hold.delay()
    await ledger.until(1)
    (entry,) = ledger.starts()
    assert os.getsid(entry.pid) == entry.pid != os.getsid(worker.pid)  # no terminal reaches it
    os.kill(entry.pid, signal.SIGINT)
    os.kill(entry.pid, signal.SIGTERM)
    worker.send_signal(signal.SIGINT)
    await worker.line("stopping")
    Path(os.environ["GATE"]).touch()
    assert await worker.exit() == 0
    assert await job.result(timeout=WITHIN_S) == entry.pid
    await gone(entry.pid)


async def test_a_second_signal_ends_it_at_once_and_puts_its_job_back(
    app: App, ledger: Ledger, worker: WorkerProcess
) -> None:
    job = await burn.spin.delay()
    await ledger.until(1)
    worker.send_signal(signal.SIGTERM)
    await worker.line("stopping")
    worker.send_signal(signal.SIGTERM)
    assert await worker.exit() == 130
    await gone(ledger.starts()[0].pid)
    info = await job.info()
    assert (info.status, info.attempt) == ("queued", 0)
    await job.cancel()


async def test_a_script_that_starts_a_worker_as_it_is_imported_says_so(
    app: App, server_folder: Path, valkey: Server, namespace: str
) -> None:
    script = server_folder / "script.py"
    script.write_text(
        "import asyncio\n"
        "from aiotq import App\n"
        f"app = App({valkey.url!r}, namespace={namespace!r})\n"
        "@app.task(process=True, retries=0)\n"
        "def one() -> int:\n"
        "    return 1\n"
        "async def main() -> None:\n"
        "    async with app.worker():\n"
        "        print(await (await one.delay()).result(timeout=30))\n"
    )
    for guard, said in (("asyncio.run(main())", "__name__"), ("if __name__ == '__main__': asyncio.run(main())", "1\n")):
        text = script.read_text()
        script.write_text(text + guard)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "script.py"),
            cwd=server_folder,
            env={**os.environ, "PYTHONPATH": PATH},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
        assert said in out.decode()
        script.write_text(text)
