"""Programs whose users have the rights of docs/acl.md and no other: a worker, start to end; a person at a terminal."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from aiotq import App
from aiotq.cli import main as command_line
from aiotq.errors import JobCancelled, JobFailed
from aiotq.job import JobStatus
from tests import servers
from tests.conftest import _check_keys, _raw_client
from tests.process.ledger import until
from tests.process.rig import TARGET
from tests.process.tasks import Tasks
from tests.processes import spawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from aiotq import Job
    from tests.processes import WorkerProcess

    Start = Callable[..., Awaitable[WorkerProcess]]
    Run = Callable[..., tuple[int, str, str]]
WITHIN_S = 30


@pytest.fixture
def server(_started: dict[str, servers.Server]) -> servers.Server:
    """One whose users are those of the page."""
    return _started["acl"]


@pytest_asyncio.fixture
async def start(server: servers.Server, namespace: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a worker process as `aiotq_worker`; it is killed at the end."""
    started: list[WorkerProcess] = []
    env = {"AIOTQ_NAMESPACE": namespace, "LEDGER": str(tmp_path / "ledger"), "GATE": str(tmp_path / "gate")}

    async def begin(*options: str, url: str = server.url) -> WorkerProcess:
        worker = await spawn(TARGET, *options, env={**env, "AIOTQ_URL": url})
        started.append(worker)
        return worker

    yield begin
    for worker in started:
        await worker.kill()


async def runs(job: Job[Any]) -> None:
    """Until some worker runs it."""

    async def running() -> bool:
        return await job.status() is JobStatus.RUNNING

    await until(running, f"job {job.id} runs")


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
async def test_jobs_of_all_kinds_run_as_the_published_user(
    request: pytest.FixtureRequest,
    server: servers.Server,
    namespace: str,
    prefix: str,
    start: Start,
    options: tuple[str, ...],
) -> None:
    worker = await start("--grace", "0.2", *options)
    await worker.line("ready")
    async with App(server.url.replace("aiotq_worker", "aiotq_producer"), namespace=namespace) as app:
        tasks = Tasks(app)
        jobs: list[Job[Any]] = [*await app.enqueue_many([tasks.note.s() for _ in range(300)])]
        jobs += [await tasks.nap_in_thread.delay(0.01), await tasks.note.options(countdown=0.1).delay()]
        jobs += [await tasks.stumble.options(retries=2).delay(2), await tasks.carry.delay("x" * 50_000)]
        for job in jobs:
            await job.result(timeout=WITHIN_S)
        with pytest.raises(JobFailed, match="not yet"):
            await (await tasks.stumble.options(retries=0).delay(2)).result(timeout=WITHIN_S)
        stopped, returned = await tasks.hold.delay(), await tasks.hold.delay()
        await runs(stopped)
        assert await stopped.cancel()
        with pytest.raises(JobCancelled):
            await stopped.result(timeout=WITHIN_S)
        await runs(returned)
        worker.send_signal(signal.SIGTERM)
        assert await worker.exit() == 0
        assert await returned.status() is JobStatus.QUEUED, "it went back as the worker left"
        assert await returned.cancel()
    assert "may not" not in worker.text
    async for raw in _raw_client(server.admin):
        await raw.delete(f"{prefix}line:default:5", f"{prefix}lines:default")
        await _check_keys(request, raw, prefix)


async def test_a_worker_without_a_right_ends_with_one_line_that_names_it_and_its_cure(
    server: servers.Server, start: Start
) -> None:
    url = server.url.replace("aiotq_worker", "aiotq_producer")
    worker = await start(url=url)

    assert await worker.exit() == 1

    assert "may not run BLPOP, DEL, HGETALL" in worker.text
    assert "ACL SETUSER <user> +blpop +del" in worker.text
    assert servers.PASSWORD not in worker.text
    assert "Traceback" not in worker.text


async def test_an_eager_supervisor_does_not_restart_what_can_never_work(server: servers.Server, start: Start) -> None:
    url = server.url.replace("aiotq_worker", "aiotq_producer")
    worker = await start("--processes", "2", url=url)

    async with asyncio.timeout(WITHIN_S):
        assert await worker.exit() == 1
    assert worker.text.count("may not run BLPOP") == 1


# --- people -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(
    server: servers.Server, namespace: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs a command line as one of the users: the exit code, stdout and stderr."""

    def run(who: str, *words: str) -> tuple[int, str, str]:
        url = server.url.replace("aiotq_worker", f"aiotq_{who}")
        monkeypatch.setattr(sys, "argv", ["aiotq", *words, "--url", url, "--namespace", namespace])
        code = command_line.main()
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def dead(server: servers.Server, namespace: str) -> str:
    """The id of a dead letter."""

    async def dies() -> str:
        async with App(server.url, namespace=namespace) as app:

            @app.task(name="send", retries=0)
            async def send() -> None:
                raise ValueError("no Bobs")

            job = await send.delay()
            async with app.worker() as worker:
                await worker.run_until_empty()
            return job.id

    return asyncio.run(dies())


def test_who_may_look_sees_all_and_is_told_in_a_line_why_nothing_is_done(run: Run, dead: str) -> None:
    for words in (("status",), ("jobs",), ("job", dead)):
        code, out, err = run("reader", *words)
        assert (code, "Traceback" in err) == (0, False)
    assert "ValueError: no Bobs" in out

    for words in (("retry", dead), ("discard", "--all", "--yes"), ("pause", "default")):
        code, out, err = run("reader", *words)
        assert (code, out) == (1, "")
        (said,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert "NOPERM" in said
        assert "the Redis user lacks a right" in err
        assert servers.PASSWORD not in err
        assert "Traceback" not in err

    assert run("reader", "job", dead)[1].splitlines()[0].endswith("failed")
    assert "retry" not in run("reader", "audit")[1]


def test_who_may_act_looks_and_acts(run: Run, dead: str) -> None:
    assert "1 dead" in run("operator", "status")[1]

    code, out, err = run("operator", "retry", dead)
    assert (code, out, err) == (0, f"retried {dead[-6:]}\n", "")
    assert "1 waiting" in run("operator", "status")[1]
    assert run("operator", "purge", "default", "--yes")[0] == 0
    assert "purged" in run("operator", "job", dead)[1]
    assert dead[-6:] in run("operator", "audit")[1]
