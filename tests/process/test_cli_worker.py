"""`python -m aiotq` as a person runs it: what a worker that works says, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aiotq.version import __version__
from tests.process.shell import NOBODY, environment, folder, of_jobs, start, task
from tests.process.team import taken

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["folder", "start"]  # fixtures


async def test_a_worker_tries_for_ever_says_so_once_and_can_be_stopped_meanwhile(start):
    worker = await start("hello:app", ready=False, AIOTQ_URL=NOBODY)
    down = await worker.line("store_down")
    assert down["url"] == "redis://:***@127.0.0.1:1/0"
    worker.send_signal(signal.SIGTERM)
    assert await worker.exit(timeout_s=5) == 0
    assert worker.text.count("store_down") == 1
    assert "secret" not in worker.text


# --- a worker for people ------------------------------------------------------------------------------------------


async def test_it_runs_what_is_there_and_says_what_it_did(start, app, valkey):
    await task(app, "greet").delay("Ada")
    failing = await task(app, "fail").delay("Bob")
    worker = await start("hello:app", "--until-empty", text=True)
    assert await worker.exit() == 0
    said = worker.text
    assert f"  aiotq {__version__}   worker " in said
    assert f"at {valkey.url} (from AIOTQ_URL)" in said
    assert "  queues        default" in said
    assert "  tasks         greet(name: str) -> str\n                fail(name: str) -> str" in said
    assert "  running       100 at once, 8 threads" in said
    assert "Ctrl-C stops gently, twice stops now." in said
    assert re.search(r"started   greet .* waited \d", said)
    assert re.search(r"succeeded greet .* took \d", said)
    failed = next(number for number, line in enumerate(worker.output) if "fail " in line and "ValueError" in line)
    assert f"{failing.id[-6:]}  ValueError: no Bobs [red]\\x1b[2J  gave up after 1 attempt" in worker.output[failed]
    assert [line.strip() for line in worker.output[failed + 1 : failed + 3]] == [
        "hello.py:13 in fail",
        'raise ValueError(f"no {name}s [red]\\x1b[2J")',
    ]
    assert re.search(r"bye\. 1 succeeded, 1 failed, 0 retried, 0 put back, up [\d.]+ m?s$", worker.output[-1])


async def test_several_processes_have_one_banner(start, app):
    job = await task(app, "greet").delay("Ada")
    worker = await start("hello:app", "--until-empty", "--processes", "2", "--name", "anna", text=True)
    assert await worker.exit() == 0
    assert await job.result(timeout=1) == "Hello, Ada!"
    assert worker.text.count("Ctrl-C stops gently") == 1
    assert f"  aiotq {__version__}   workers anna/1 to 2, Python" in worker.text
    assert "  running       2 processes, each 100 at once, 8 threads" in worker.text
    assert re.search(r"started   greet .* waited \d", worker.text)
    assert "  anna/1: bye. " in worker.text


async def test_arguments_and_results_are_shown_with_v_only(start, app):
    for options, shown in ([], False), (["-v"], True):
        await task(app, "greet").delay("Ada")
        worker = await start("hello:app", "--until-empty", *options, text=True)
        assert await worker.exit() == 0
        assert ("Ada" in worker.text, "Hello, Ada!" in worker.text) == (shown, shown)


async def test_all_frames_are_shown_with_v_only(start, app):
    for options, shown in ([], False), (["-v"], True):
        await task(app, "fail").delay("Bob")
        worker = await start("hello:app", "--until-empty", *options, text=True)
        assert await worker.exit() == 0
        assert "hello.py" in worker.text
        assert ("aiotq/worker/run.py" in worker.text) is shown


async def test_quiet_says_only_what_went_wrong(start, app):
    await task(app, "greet").delay("Ada")
    await task(app, "fail").delay("Bob")
    worker = await start("hello:app", "--until-empty", "--quiet", text=True)
    assert await worker.exit() == 0
    said = of_jobs(worker)
    assert len(said) == 3
    assert "ValueError: no Bobs" in said[0]


async def test_a_module_that_uses_task_alone_needs_no_app(start, app, folder):
    (folder / "bare.py").write_text("from aiotq import task\n@task\nasync def ping() -> str:\n    return 'pong'\n")
    job = await app.task(name="bare:ping")(lambda: None).delay()
    worker = await start("bare", "--until-empty", text=True)
    assert await worker.exit() == 0, worker.text
    assert await job.result(timeout=1) == "pong"


async def test_many_jobs_a_second_are_counted_instead_of_listed(start, app):
    greet = task(app, "greet")
    await app.enqueue_many([greet.s("Ada") for _ in range(3_000)])
    await task(app, "fail").delay("Bob")
    worker = await start("hello:app", "--until-empty", text=True)
    assert await worker.exit() == 0
    listed = sum(" greet " in line for line in worker.output)
    counts = [line for line in worker.output if "per s" in line]
    assert listed <= 2 * 50 + 50
    assert counts
    assert "ValueError: no Bobs" in worker.text
    total = sum(int(number.replace(",", "")) for line in counts for number in re.findall(r"([\d,]+) succeeded", line))
    assert total == 3_000
    assert "bye. 3,000 succeeded, 1 failed" in worker.output[-1]


async def test_a_terminal_gets_symbols_and_colours_unless_it_wants_none(start, app, folder):
    for env, coloured in ({}, True), ({"NO_COLOR": "1"}, False):
        await task(app, "greet").delay("Ada")
        said = await asyncio.to_thread(on_a_terminal, folder, {**start.env, "LANG": "C.UTF-8", "TERM": "xterm", **env})
        assert "✔" in said
        assert ("\x1b[" in said) is coloured


def on_a_terminal(folder: Path, env: dict[str, str]) -> str:
    """What `python -m aiotq hello:app --until-empty` says on a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "aiotq", "hello:app", "--until-empty"],
        cwd=folder,
        env={**environment(**env), "NO_COLOR": env.get("NO_COLOR", "")},
        stdin=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                said += os.read(ours, 1 << 16)
            except OSError:  # Linux's way to say that nobody holds the other end any more
                break
        os.close(ours)
        assert process.wait(10) == 0
    return said.decode()


async def test_what_the_users_code_logs_is_shown_too(start, app):
    await task(app, "chat").delay()
    worker = await start("hello:app", "--until-empty", text=True)
    assert await worker.exit() == 0
    assert [line[21:] for line in worker.output if "hello: " in line] == ["warning   hello: half past nine"]


# --- a worker for machines ----------------------------------------------------------------------------------------


async def test_in_json_every_line_is_an_object_and_the_first_is_ready(start, app, namespace, valkey):
    failing = await task(app, "fail").delay("Bob")
    worker = await start("hello:app", "--until-empty", "--name", "anna", "-c", "7", ready=False)
    ready, failed = await worker.line("ready"), await worker.line("failed")
    assert await worker.exit() == 0
    assert all(json.loads(line)["event"] for line in worker.output)
    assert json.loads(worker.output[0])["event"] == "ready"
    assert (ready["worker"], ready["namespace"], ready["concurrency"]) == ("anna", namespace, 7)
    assert (ready["url"], ready["origin"], ready["queues"]) == (valkey.url, "AIOTQ_URL", ["default"])
    assert "hello:greet" in ready["tasks"]
    assert (failed["job_id"], failed["task"], failed["attempt"]) == (failing.id, "hello:fail", 1)
    assert failed["error"]["type"] == "ValueError"
    assert failed["error"]["frames"][0]["function"] == "fail"


# --- how it ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_lets_running_jobs_end(start, app, number):
    worker = await start("hello:app", "--grace", "0.1")
    held = await task(app, "hold").delay()
    await worker.line("started", job_id=held.id)
    worker.send_signal(number)
    stopping = await worker.line("stopping")
    assert (stopping["running"], stopping["grace_s"]) == (1, 0.1)
    assert await worker.exit() == 0
    tally = json.loads(worker.output[-1])
    assert (tally["event"], tally["tally"]["returned"]) == ("stopped", 1)
    assert (await held.status()) == "queued"
    await held.cancel()


@pytest.mark.parametrize("name", ["hold", "stubborn", "hold_thread"])
async def test_the_second_signal_stops_now_whatever_runs(start, app, name):
    worker = await start("hello:app")
    held = await task(app, name).delay()
    await worker.line("started", job_id=held.id)
    worker.send_signal(signal.SIGTERM)
    await worker.line("stopping")
    worker.send_signal(signal.SIGINT)
    assert await worker.exit(timeout_s=10) == 130
    assert (await held.status()) == "queued"
    await held.cancel()


@pytest.mark.leaves_keys("the worker ends without a goodbye; another one would reclaim it")
async def test_the_third_ends_a_process_whose_event_loop_is_blocked(start, app):
    worker = await start("hello:app")
    held = await task(app, "block").delay()
    await worker.line("started", job_id=held.id)
    for _ in range(3):
        worker.send_signal(signal.SIGINT)
        await taken(worker.pid, signal.SIGINT)  # signals of one kind that wait together are one
    assert await worker.exit(timeout_s=5) == 130


async def test_what_a_task_left_running_does_not_keep_the_process(start, app):
    await task(app, "leave_something_behind").delay()
    worker = await start("hello:app", "--until-empty")
    assert await worker.exit(timeout_s=10) == 0


async def test_a_lifespan_that_fails_ends_it_with_its_own_traceback(start, folder):
    (folder / "pool.py").write_text(
        "from contextlib import asynccontextmanager\nfrom aiotq import App\n\n"
        "@asynccontextmanager\nasync def lifespan():\n    raise OSError('no database')\n    yield\n\n"
        "app = App(lifespan=lifespan)\n"
    )
    worker = await start("pool:app", text=True)
    assert await worker.exit() == 1
    assert worker.output[0] == "error: starting the worker failed"
    assert worker.output[-1] == "OSError: no database"
    assert re.findall(r"(\w+\.py)", worker.text)[-1] == "pool.py"
