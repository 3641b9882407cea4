"""Enqueuing: from coroutines, threads, scripts and forks; and what is said when the server is away."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aiotq import App, JobStatus, current_job
from aiotq.errors import StoreError, StoreUnavailable
from tests import processes

if TYPE_CHECKING:
    from aiotq import Task
    from tests.servers import Server


def declare(app: App) -> Task[[str], str]:
    @app.task
    async def greet(name: str) -> str:
        return f"Hello, {name}"

    return greet


# --- coroutines ---------------------------------------------------------------------------------------------------


async def test_a_job_is_queued_and_its_handle_knows_it(app: App) -> None:
    job = await declare(app).delay("Ada")
    assert len(job.id) == 32
    assert not job.existed
    assert await job.status() is JobStatus.QUEUED
    assert (await job.info()).arguments == {"args": ["Ada"], "kwargs": {}}
    await job.cancel()


async def test_an_id_that_is_taken_gives_a_handle_of_the_first_job(app: App) -> None:
    greet = declare(app)
    once = greet.options(job_id="welcome:ada")
    first, second = await once.delay("Ada"), await once.delay("Bob")
    assert (first.existed, second.existed) == (False, True)
    assert first.id == second.id == "welcome:ada"
    assert (await second.info()).arguments["args"] == ["Ada"]
    await first.cancel()
    assert (await once.delay("Ada")).existed


async def test_of_many_at_once_with_one_id_the_first_is_queued(app: App) -> None:
    once = declare(app).options(job_id="one")
    jobs = await asyncio.gather(*[once.delay(str(i)) for i in range(10)])
    assert [job.existed for job in jobs] == [False] + [True] * 9
    assert (await jobs[5].info()).arguments["args"] == ["0"]
    jobs = await app.enqueue_many([once.s("again"), declare(app).options(job_id="two").s("x")])
    assert [job.existed for job in jobs] == [True, False]
    for job in jobs:
        await job.cancel()


async def test_many_calls_give_their_handles_in_order(app: App) -> None:
    greet = declare(app)
    jobs = await app.enqueue_many(greet.s(str(i)) for i in range(1234))
    assert len({job.id for job in jobs}) == 1234
    for i in (0, 499, 500, 1233):
        assert (await jobs[i].info()).arguments["args"] == [str(i)]
    for job in jobs:
        await job.cancel()


async def test_a_call_runs_as_a_task_or_in_a_task_group(app: App) -> None:
    greet = declare(app)
    async with asyncio.TaskGroup() as group:
        one = group.create_task(greet.delay("a"))
        two = group.create_task(greet.delay("b"))
    async with anyio.create_task_group() as others:
        others.start_soon(greet.options(job_id="three").delay, "c")
    three, _ = await asyncio.wait([asyncio.ensure_future(greet.delay("d"))])
    jobs = [one.result(), two.result(), *(task.result() for task in three), app.job("three")]
    assert [await job.status() for job in jobs] == [JobStatus.QUEUED] * 4
    for job in jobs:
        await job.cancel()


async def test_a_call_that_is_cancelled_harms_no_other(app: App) -> None:
    greet = declare(app)
    calls = [asyncio.create_task(greet.delay(str(i))) for i in range(50)]
    for step in range(20):
        calls[step].cancel()
        await asyncio.sleep(0)
    done = await asyncio.gather(*calls, return_exceptions=True)
    jobs: list[Any] = [job for job in done if not isinstance(job, BaseException)]
    assert len(jobs) >= 30
    for job in jobs:
        assert await job.status() is JobStatus.QUEUED
        await job.cancel()
    leftover = await app._core.client().store.backlog(["default"])
    assert leftover.running == 0


# --- threads and programs without asyncio -------------------------------------------------------------------------


async def test_delay_sync_works_from_a_thread(app: App) -> None:
    greet = declare(app)
    job = await asyncio.to_thread(greet.delay_sync, "Ada")
    same = await asyncio.to_thread(greet.options(job_id=job.id).delay_sync, "Bob")
    assert await job.status() is JobStatus.QUEUED
    assert same.existed
    await job.cancel()


async def test_many_threads_share_the_way(app: App) -> None:
    greet = declare(app)
    jobs: list[Any] = []
    threads = [threading.Thread(target=lambda: jobs.append(greet.delay_sync("Ada"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len({job.id for job in jobs}) == 20
    for job in jobs:
        await job.cancel()


async def test_delay_sync_works_in_a_plain_task_and_delay_in_an_async_one(app: App) -> None:
    greet = declare(app)

    @app.task
    def plain() -> str:
        return greet.delay_sync(current_job().id).id

    @app.task
    async def deep() -> str:
        return (await greet.delay(current_job().id)).id

    async with app.worker():
        for task in (plain, deep):
            job = await task.delay()
            inner = app.job(await job.result(timeout=5))
            assert await inner.result(timeout=5) == f"Hello, {job.id}"


# --- loops, scripts, forks ----------------------------------------------------------------------------------------


def test_an_app_opens_again_on_the_next_loop(valkey: Server, namespace: str) -> None:
    app = App(valkey.url, namespace=namespace)
    greet = declare(app)

    async def main() -> None:
        job = await greet.delay("Ada")
        assert await job.cancel()

    for _ in range(3):
        asyncio.run(main())
    assert len(app._core._clients) == 1  # those of closed loops are gone


async def test_an_app_may_be_entered_in_one_asyncio_task_and_left_in_another(valkey: Server, namespace: str) -> None:
    app = App(valkey.url, namespace=namespace)
    greet = declare(app)
    await asyncio.create_task(app.__aenter__())
    assert await (await greet.delay("Ada")).cancel()
    await asyncio.create_task(app.__aexit__(None, None, None))
    assert not app._core._clients


async def test_an_app_may_be_entered_twice(valkey: Server, namespace: str) -> None:
    app = App(valkey.url, namespace=namespace)
    async with app:
        async with app:
            pass
        [client] = app._core._clients.values()
        assert await (await declare(app).delay("Ada")).cancel()
        assert list(app._core._clients.values()) == [client]
    assert not app._core._clients


@pytest.fixture
def script(valkey: Server, namespace: str, tmp_path: Path) -> Any:
    """Runs a program in a folder of its own; gives what it printed. It must say nothing on stderr."""

    async def run(code: str, *options: str) -> str:
        (tmp_path / "hello.py").write_text(
            # asyncio's debug mode also tells that a step took long, which says more of the machine than of us.
            'import logging\nlogging.getLogger("asyncio").addFilter(lambda line: " took " not in line.getMessage())\n'
            f"from aiotq import App\napp = App({valkey.url!r}, namespace={namespace!r})\n"
            "@app.task\nasync def greet(name: str) -> str:\n    return name\n" + code
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", *options, "hello.py", cwd=tmp_path, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, preexec_fn=processes.die_with_parent,
            env={**os.environ, "PYTHONASYNCIODEBUG": "1", "PYTHONPATH": processes.PATH},
        )  # fmt: skip
        out, err = await process.communicate()
        assert (process.returncode, err.decode()) == (0, "")
        return out.decode().strip()

    return run


MAIN = """
import asyncio
async def main():
    job = await greet.delay("Ada")
    print((await job.info()).task, await job.cancel())
asyncio.run(main())
"""


async def test_a_script_that_never_closes_ends_silently_and_names_its_tasks_as_a_worker_does(script: Any) -> None:
    assert await script(MAIN) == "hello:greet True"


async def test_a_script_that_waits_for_a_result_ends_silently(script: Any) -> None:
    said = await script("""
import asyncio
async def main():
    job = await greet.delay("Ada")
    try:
        await job.result(timeout=0.05)
    except TimeoutError as error:
        print(type(error).__name__, await job.cancel())
    waiting = asyncio.create_task((await greet.options(job_id="other").delay("Ada")).result())
    await asyncio.sleep(0.05)
    await app.job("other").cancel()
    try:
        await waiting
    except Exception as error:
        print(type(error).__name__)
asyncio.run(main())
""")
    assert said.splitlines() == ["ResultTimeout True", "JobCancelled"]


async def test_a_script_without_asyncio_ends_silently(script: Any) -> None:
    said = await script("""
import asyncio
jobs = [greet.delay_sync(name) for name in ("Ada", "Bob")]
print(len({job.id for job in jobs}))
async def tidy():
    return [await job.cancel() for job in jobs]
print(asyncio.run(tidy()))
""")
    assert said.splitlines() == ["2", "[True, True]"]


async def test_a_script_that_is_interrupted_amid_sending_ends_silently(script: Any) -> None:
    said = await script("""
import asyncio
async def main():
    async def forever():
        while True:
            await (await greet.options(job_id="same").delay("Ada")).cancel()
    tasks = [asyncio.create_task(forever()) for _ in range(20)]
    await asyncio.sleep(0.1)
    print("ends")
asyncio.run(main())
""")
    assert said == "ends"


async def test_a_child_of_a_fork_has_connections_of_its_own(script: Any) -> None:
    said = await script("""
import asyncio, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork itself
async def main(who):
    job = await greet.delay(who)
    assert (await job.info()).arguments["args"] == [who]
    assert await job.cancel()
async def parent():
    await main("parent")
    await asyncio.to_thread(greet.options(job_id="sync").delay_sync, "parent")
    pid = os.fork()  # in mid-life, as multiprocessing does
    if not pid:
        child("second")
    await main("parent again")
    assert (await asyncio.to_thread(greet.options(job_id="sync").delay_sync, "parent")).existed
    print(os.waitpid(pid, 0)[1])
    await main("parent at last")
    await app.job("sync").cancel()
def child(who):
    asyncio.run(main(who))
    assert greet.options(job_id=who).delay_sync(who).existed is False
    asyncio.run(app.job(who).cancel())
    os._exit(0)
pid = os.fork()  # before anything was opened
if not pid:
    child("first")
print(os.waitpid(pid, 0)[1])
asyncio.run(parent())
""")
    assert said.splitlines() == ["0", "0"]


# --- the server is away -------------------------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


async def test_without_a_server_delay_fails_in_time_and_says_that_nothing_was_queued(closed_port: int) -> None:
    app = App(f"redis://:secret@127.0.0.1:{closed_port}", connect_timeout=0.3)
    greet = declare(app)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with pytest.raises(StoreUnavailable, match="the job was not queued") as raised:
        await greet.delay("Ada")
    assert loop.time() - began_s < 3  # by default it is 5 s
    assert not raised.value.sent
    assert f"127.0.0.1:{closed_port} (connection refused)" in str(raised.value)
    assert "secret" not in str(raised.value) + repr(raised.value)
    with pytest.raises(StoreUnavailable):
        await asyncio.to_thread(greet.delay_sync, "Ada")
    with pytest.raises(StoreUnavailable):
        await app.enqueue_many([greet.s("Ada")])
    with pytest.raises(StoreUnavailable):
        async with app:
            pass
    await app._core.close()


async def test_a_server_that_is_silent_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        app = App(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", connect_timeout=0.3)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        with pytest.raises(StoreError):
            await declare(app).delay("Ada")
        assert loop.time() - began_s < 3  # by default it is 5 s
        await app._core.close()


async def test_a_caller_that_goes_away_while_the_server_is_away_is_not_held_up(closed_port: int) -> None:
    app = App(f"redis://127.0.0.1:{closed_port}", connect_timeout=30)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await declare(app).delay("Ada")
    async with asyncio.timeout(5):
        await app._core.close()
