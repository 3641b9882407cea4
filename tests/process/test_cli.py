"""`python -m aiotq` as a person runs it: what it says, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from aiotq.version import __version__
from tests import processes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiotq import App
    from tests.servers import Server

NOBODY = "redis://:secret@127.0.0.1:1/0"  # where no server is
HELLO = """
import asyncio, logging, os, sys, time
from aiotq import App

app = App()

@app.task
async def greet(name: str) -> str:
    return f"Hello, {name}!"

@app.task(retries=0)
async def fail(name: str) -> str:
    raise ValueError(f"no {name}s [red]\\x1b[2J")

@app.task
async def hold() -> None:
    await asyncio.sleep(60)

@app.task
async def stubborn() -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

@app.task
def hold_thread() -> None:
    time.sleep(60)

@app.task
async def block() -> None:
    while True:
        time.sleep(0.01)

@app.task
async def leave_something_behind() -> None:
    app.left = asyncio.create_task(stubborn())
    await asyncio.sleep(0)

@app.task
async def chat() -> None:
    logging.getLogger("hello").warning("half past nine")
    logging.getLogger("hello").info("nobody needs to know")
"""


def environment(**given: str) -> dict[str, str]:
    """What a person's shell would have, and no more of aiotq's than is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIOTQ_", "REDIS_"))}
    return {**kept, "PYTHONPATH": str(processes.ROOT), **given}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The person's folder, with a hello.py in it."""
    (tmp_path / "hello.py").write_text(HELLO)
    return tmp_path


@pytest.fixture
def aiotq(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m aiotq` to its end."""

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "aiotq", *words],
            cwd=folder,
            env=environment(**env),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


class Starter:
    """Starts workers in the person's folder."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.env = folder, env
        self.started: list[processes.WorkerProcess] = []

    async def __call__(
        self, *words: str, text: bool = False, ready: bool = True, **env: str
    ) -> processes.WorkerProcess:
        """text: lines for people instead of JSON. ready: wait until it works."""
        form = {"AIOTQ_LOG_FORMAT": "text"} if text else {}
        worker = await processes.spawn(*words, env={**self.env, **form, **env}, cwd=self.folder)
        self.started.append(worker)
        if ready and not text:
            await worker.line("ready")
        return worker


@pytest_asyncio.fixture
async def start(folder: Path, valkey: Server, namespace: str) -> AsyncIterator[Starter]:
    """Starts workers where `app` is. They are killed at the end."""
    starter = Starter(folder, {"AIOTQ_URL": valkey.url, "AIOTQ_NAMESPACE": namespace})
    yield starter
    for worker in starter.started:
        await worker.kill()


def of_jobs(worker: Any) -> list[str]:
    """What it said, but for the warning that the server under test is an old one."""
    return [line for line in worker.output if "script engine" not in line]


def task(app: App, name: str) -> Any:
    """The sender's side of a task of hello.py."""

    async def anything(*_args: Any) -> Any: ...

    return app.task(name=f"hello:{name}")(anything)


# --- at once, and without Redis -----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["helo:app"], ["hello:ap"], []])
def test_what_needs_no_server_loads_neither_redis_nor_a_worker(folder, words):
    program = (
        "import sys; from aiotq.cli.main import main; code = main(); "
        "print([name for name in ({late}) if name in sys.modules]); sys.exit(code)"
    )
    # To find the app, a worker's command line has to be loaded.
    late = "'redis', 'fakeredis', 'rich'" + ("" if words and ":" in words[0] else ", 'aiotq.worker.worker'")
    ended = subprocess.run(
        [sys.executable, "-c", program.replace("{late}", late), *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.stdout.splitlines()[-1] == "[]", ended.stderr
    assert ended.returncode == (0 if words and words[0].startswith("--") else 2)


def test_it_answers_at_once(folder):
    """Beside the standard library's own asyncio: how fast the machine is, and what else it does, counts for both."""

    def took_s(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], cwd=folder, env=environment(), capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    rounds = [(took_s("-m", "aiotq", "--version"), took_s("-c", "import asyncio")) for _ in range(3)]
    assert min(ours / theirs for ours, theirs in rounds) < 8


def test_the_console_script_is_the_same(folder):
    """As an installer writes it from pyproject.toml."""
    program = "import sys; from aiotq.cli.main import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", program, "helo:app"],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[1] == "did you mean hello:app?"


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            ["helo:app"],
            ["error: there is no module 'helo' (looked in the current folder and sys.path)", "did you mean hello:app?"],
        ),
        (["hello:ap"], ["error: 'hello' has no 'ap'. Apps in it: app", "run: python -m aiotq hello:app"]),
        (
            ["hello.py"],
            [
                "error: 'hello.py' is a file's path; the name of a module is expected, as in import",
                "did you mean hello:app?",
            ],
        ),
        ([], ["error: no module was named", "run: python -m aiotq hello:app, or python -m aiotq -h for help"]),
    ],
)
def test_a_mistake_is_two_lines_and_exit_code_two(aiotq, words, lines):
    ended = aiotq(*words)
    assert (ended.returncode, ended.stdout, ended.stderr.splitlines()) == (2, "", lines)


def test_an_import_that_raises_shows_the_users_traceback_only(aiotq, folder):
    (folder / "broken.py").write_text("import hello\n\ndef set_up():\n    return 1 / 0\n\nset_up()\n")
    ended = aiotq("broken:app")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[0] == "error: importing 'broken' failed"
    assert re.findall(r'File ".*/(\w+\.py)", line (\d+)', ended.stderr) == [("broken.py", "6"), ("broken.py", "4")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--url", "http://h"], "http"),
        (["--namespace", "a b"], "namespace='a b'"),
        (["-q", "a b"], "queues='a b'"),
        (["--quiet", "-v"], "--quiet and --verbose"),
    ],
)
def test_options_that_can_not_be_right_are_named(aiotq, words, said):
    ended = aiotq("hello:app", *words)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["helo:app"], ["error: there is no module 'helo' (looked in the current folder and sys.path)"]),
        (["hello:app", "-q", "a b"], ["error: queues='a b' is no name of a queue"]),
        (["hello:app", "--name", "a b"], ["error: name='a b' is not allowed"]),
        (["hello:app", "--url", "memory://"], ["error: memory:// (from --url) lives and ends with one process"]),
    ],
)
def test_what_is_wrong_for_every_process_is_said_once_and_ends_it(aiotq, words, lines):
    ended = aiotq(*words, "--processes", "3")
    assert (ended.returncode, ended.stdout) == (2, "")
    said = ended.stderr.splitlines()
    assert [line[: len(start)] for line, start in zip(said, lines, strict=False)] == lines
    assert len(said) == 2


def test_a_module_that_raises_is_told_once_and_ends_all_processes(aiotq, folder):
    (folder / "broken.py").write_text("1 / 0\n")
    ended = aiotq("broken:app", "--processes", "3")
    assert ended.returncode == 2
    assert ended.stderr.count("error: importing 'broken' failed") == ended.stderr.count("Traceback") == 1


def test_a_module_that_kills_its_process_is_told_once_and_ends_all_processes(aiotq, folder):
    (folder / "broken.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    ended = aiotq("broken:app", "--processes", "3", "--name", "anna")
    assert ended.returncode == 137
    assert len(ended.stderr.splitlines()) == 1
    assert "anna/1 (pid " in ended.stderr
    assert ended.stderr.endswith(") was killed by SIGKILL\n")


def test_uvloop_that_is_not_installed_is_said_with_the_command_that_installs_it(aiotq, folder):
    (folder / "uvloop.py").write_text("raise ImportError('not here')\n")
    ended = aiotq("hello:app", "--uvloop", PYTHONPATH=f"{folder}:{processes.ROOT}")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "error: --uvloop: uvloop is not installed", "run: pip install 'aiotq[uvloop]'",
    ]  # fmt: skip


def test_a_supervisor_loads_neither_redis_nor_the_users_module(folder):
    """It is asked as it ends: its processes have failed at once."""
    (folder / "broken.py").write_text("1 / 0\n")
    program = (
        "import os, sys; from aiotq.cli.main import main; seat = '_AIOTQ_SEAT' in os.environ; code = main(); "
        "seat or print([name for name in ('redis', 'fakeredis', 'broken', 'rich') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "broken:app", "--processes", "2"],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.stdout.splitlines() == ["[]"], ended.stderr


# --- no server ----------------------------------------------------------------------------------------------------


def test_until_empty_gives_up_on_a_server_that_is_not_there(aiotq, folder):
    (folder / "hasty.py").write_text("from aiotq import App\napp = App(connect_timeout=0.5)\n")
    ended = aiotq("hasty:app", "--until-empty", AIOTQ_URL=NOBODY)
    where = "no Redis at redis://:***@127.0.0.1:1/0 (connection refused)"
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        *[f"error: {where}, trying again", "from AIOTQ_URL; start Redis, or use --url embedded://"],
        *[f"error: {where}, given up after 500 ms", "from AIOTQ_URL; start Redis, or use --url embedded://"],
    ]


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
    assert json.loads(of_jobs(worker)[0])["event"] == "ready"
    assert (ready["worker"], ready["namespace"], ready["concurrency"]) == ("anna", namespace, 7)
    assert (ready["url"], ready["origin"], ready["queues"]) == (valkey.url, "AIOTQ_URL", ["default"])
    assert "hello:greet" in ready["tasks"]
    assert (failed["job_id"], failed["task"], failed["attempt"]) == (failing.id, "hello:fail", 1)
    assert failed["error"]["type"] == "ValueError"
    assert failed["error"]["frames"][0]["function"] == "fail"


def test_in_json_a_start_that_fails_is_an_object_too(aiotq, folder):
    (folder / "hasty.py").write_text("from aiotq import App\napp = App(connect_timeout=0.2)\n")
    ended = aiotq("hasty:app", "--until-empty", "--log-format", "json", AIOTQ_URL=NOBODY)
    assert ended.returncode == 1
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["store_down", "gave_up"]
    assert "--url embedded://" in lines[1]["message"]


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
        await asyncio.sleep(0.3)  # signals of one kind that wait together are one
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
    assert of_jobs(worker)[0] == "error: starting the worker failed"
    assert worker.output[-1] == "OSError: no database"
    assert re.findall(r"(\w+\.py)", worker.text)[-1] == "pool.py"
