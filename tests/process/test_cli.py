"""`python -m aiotq` as a person runs it: what it says and leaves before a worker works."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys

import pytest

from tests import processes
from tests.process.shell import NOBODY, aiotq, environment, folder

__all__ = ["aiotq", "folder"]  # fixtures


# --- at once, and without Redis -----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["helo:app"], ["hello:ap"], []])
def test_what_needs_no_server_loads_neither_redis_nor_a_worker(folder, words):
    program = (
        "import sys; from aiotq.cli.main import main; code = main(); "
        "print([name for name in ({late}) if name in sys.modules]); sys.exit(code)"
    )
    # To find the app, a worker's command line has to be loaded.
    late = "'redis', 'fakeredis', 'rich', 'aiotq.inspection.values'" + (
        "" if words and ":" in words[0] else ", 'aiotq.worker.worker'"
    )
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
        ([], ["error: no module was named; -h shows what there is", "run: python -m aiotq hello:app"]),
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
        (["hello:app", "-q", "a b"], ["error: --queues='a b' is no name of a queue"]),
        (["hello:app", "--name", "a b"], ["error: --name='a b' is not allowed"]),
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
    ended = aiotq("hello:app", "--uvloop", PYTHONPATH=f"{folder}:{processes.PATH}")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "error: --uvloop: uvloop is not installed", "run: pip install 'aiotq[uvloop]'",
    ]  # fmt: skip


def test_a_supervisor_loads_neither_redis_nor_the_users_module(folder):
    """It is asked as it ends: its processes have failed at once."""
    (folder / "broken.py").write_text("1 / 0\n")
    program = (
        "import os, sys; from aiotq.cli.main import main; seat = '_AIOTQ_SEAT' in os.environ; code = main(); "
        "seat or print([name for name in ('redis', 'fakeredis', 'broken', 'rich', 'watchfiles') "
        "if name in sys.modules])"
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
    *trying, end, hint = ended.stderr.splitlines()
    assert [end, hint] == [
        f"error: {where}, given up after 500 ms",
        "from AIOTQ_URL; start Redis, or use --url embedded://",
    ]
    assert trying in ([], [f"error: {where}, trying again", hint])  # none, if the first try took all that time


def test_in_json_a_start_that_fails_is_an_object_too(aiotq, folder):
    (folder / "hasty.py").write_text("from aiotq import App\napp = App(connect_timeout=0.2)\n")
    ended = aiotq("hasty:app", "--until-empty", "--log-format", "json", AIOTQ_URL=NOBODY)
    assert ended.returncode == 1
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["event"] for line in lines] in (["store_down", "gave_up"], ["gave_up"])  # if that took all the time
    assert "--url embedded://" in lines[-1]["message"]
