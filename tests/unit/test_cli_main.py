"""The command line itself: commands, options, the environment, mistakes."""

from __future__ import annotations

import os
import sys

import pytest

from aiotq.cli import main as command_line
from aiotq.cli.mistake import Mistake
from aiotq.cli.options import DEFAULTS, LogFormat, WorkerOptions
from aiotq.errors import UsageError
from aiotq.version import __version__

ALL = [
    "-q",
    "a,b",
    "-c",
    "7",
    "--threads",
    "2",
    "--pool-processes",
    "3",
    "--grace",
    "1.5",
    "--lease",
    "3",
    "--until-empty",
    "--url",
    "redis://h",
]
ALL += ["--processes", "3", "--max-jobs", "1000", "--max-memory", "512MiB", "--uvloop"]
ALL += ["--health-port", "8081", "--health-host", "0.0.0.0"]
ALL += ["--namespace", "n", "--name", "w", "--quiet", "-v", "--log-format", "json"]
GIVEN = WorkerOptions(
    target="hello:app",
    queues=("a", "b"),
    concurrency=7,
    threads=2,
    pool_processes=3,
    grace_s=1.5,
    lease_s=3,
    processes=3,
    max_jobs=1000,
    max_memory=512 << 20,
    uvloop=True,
    health_port=8081,
    health_host="0.0.0.0",
    until_empty=True,
    url="redis://h",
    namespace="n",
    name="w",
    quiet=True,
    verbose=True,
    log_format=LogFormat.JSON,
)


@pytest.fixture
def run(monkeypatch):
    """Runs the command line. The worker's options go into the list, and nothing is started."""
    monkeypatch.setattr("aiotq.cli.supervise.run_processes", lambda options: given.append(options) or 0)
    for name in list(command_line.os.environ):
        if name.startswith("AIOTQ_"):
            monkeypatch.delenv(name)
    given: list[WorkerOptions] = []

    def run(*words: str) -> tuple[int, list[WorkerOptions]]:
        monkeypatch.setattr(sys, "argv", ["aiotq", *words])
        return command_line.main(), given

    return run


def test_a_module_alone_takes_the_defaults(run):
    assert run("hello:app") == (0, [WorkerOptions(target="hello:app")])
    assert WorkerOptions(target="x").concurrency == DEFAULTS.concurrency


def test_every_option_is_taken(run):
    assert run("hello:app", *ALL) == (0, [GIVEN])


@pytest.mark.parametrize(
    "words", [("worker", "hello:app"), ("-c", "100", "hello:app"), ("worker", "-c", "100", "hello:app")]
)
def test_the_worker_is_the_command_that_need_not_be_named(run, words):
    assert run(*words) == (0, [WorkerOptions(target="hello:app")])


def test_a_first_word_that_is_a_command_is_that_command(run):
    assert command_line.with_command(["server", "status"]) == ["server", "status"]
    assert command_line.with_command(["worker", "worker"]) == ["worker", "worker"]
    assert command_line.with_command(["servers"]) == ["worker", "servers"]
    assert run("worker", "worker")[1] == [WorkerOptions(target="worker")]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--url", "redis://h", "status"], "aiotq status --url redis://h"),
        (["--json", "status", "-v"], "aiotq status --json -v"),
        (["--namespace", "jobs", "job", "a b"], "aiotq job --namespace jobs 'a b'"),
        (["--url", "embedded://x", "server", "status"], "aiotq server status --url embedded://x"),
        (["--json", "server", "--url", "embedded://x", "stop"], "aiotq server stop --json --url embedded://x"),
        (["-v", "server"], "aiotq server -v"),
    ],
)
def test_options_before_a_command_are_said_to_come_after_it(run, capsys, words, line):
    assert run(*words) == (2, [])
    said = capsys.readouterr().err
    assert "options come after it" in said
    assert f"run: {line}\n" in said


def test_a_module_that_is_named_like_a_command_is_run_all_the_same(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "status.py").touch()
    assert run("-c", "100", "status") == (0, [WorkerOptions(target="status")])


def test_every_option_but_the_url_is_read_from_the_environment(run, monkeypatch):
    values = {"QUEUES": "a,b", "CONCURRENCY": "7", "THREADS": "2", "GRACE": "1.5", "LEASE": "3", "UNTIL_EMPTY": "1"}
    values |= {"PROCESSES": "3", "MAX_JOBS": "1000", "MAX_MEMORY": "512MiB", "UVLOOP": "1"}
    values |= {"HEALTH_PORT": "8081", "HEALTH_HOST": "0.0.0.0"}
    values |= {
        "URL": "redis://other",
        "NAMESPACE": "n",
        "POOL_PROCESSES": "3",
        "NAME": "w",
        "QUIET": "true",
        "VERBOSE": "1",
        "LOG_FORMAT": "json",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"AIOTQ_{name}", value)
    assert run("hello:app", "--url", "redis://h") == (0, [GIVEN])


def test_the_command_line_goes_before_the_environment_and_an_empty_variable_is_none(run, monkeypatch):
    monkeypatch.setenv("AIOTQ_CONCURRENCY", "7")
    monkeypatch.setenv("AIOTQ_GRACE", "")
    assert run("hello:app", "-c", "5") == (0, [WorkerOptions(target="hello:app", concurrency=5)])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MiB", 512 << 20),
        ("2G", 2 << 30),
        ("2GB", 2 * 10**9),
        ("1.5 gib", 3 << 29),
        ("800000", 800_000),
        ("4k", 4096),
    ],
)
def test_a_size_has_a_unit_or_is_bytes(run, text, size):
    assert run("hello:app", "--max-memory", text)[1][0].max_memory == size


def test_auto_is_one_process_a_core(run):
    assert run("hello:app", "--processes", "auto")[1][0].processes == len(os.sched_getaffinity(0))


def test_queues_may_be_given_together_and_apart(run):
    assert run("hello:app", "-q", "a, b", "-q", "c,")[1][0].queues == ("a", "b", "c")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "error: no module was named"),
        (["x", "-c", "lots"], "error: invalid value for '-c' / '--concurrency'"),
        (["x", "-c", "0"], "'0' is no whole number of at least 1"),
        (["x", "--threads", "1.5"], "'1.5' is no whole number of at least 1"),
        (["x", "--grace", "-1"], "'-1' is no number of seconds, as in 30 or 0.5"),
        (["x", "--lease", "nan"], "'nan' is no number of seconds"),
        (["x", "--log-format", "xml"], "'xml' is not one of text, json"),
        (["x", "--processes", "0"], "'0' is no number of processes, 1 to 512, and not 'auto' (one a core)"),
        (["x", "--processes", "-1"], "'-1' is no number of processes"),
        (["x", "--processes", "x"], "'x' is no number of processes"),
        (["x", "--processes", "1000"], "'1000' is no number of processes"),
        (["x", "--max-jobs", "0"], "'0' is no whole number of at least 1"),
        (["x", "--max-jobs", "-1"], "'-1' is no whole number of at least 1"),
        (["x", "--max-memory", "0"], "'0' is no size in bytes, as in 512MiB or 2GiB"),
        (["x", "--max-memory", "-1"], "'-1' is no size in bytes"),
        (["x", "--max-memory", "1 x"], "'1 x' is no size in bytes"),
        (["x", "--concurency", "3"], "error: no such option"),
        (["x", "y"], "(y)"),
        (["x", "--name"], "'--name' requires an argument"),
        (["server", "nosuch"], "error: no such command 'nosuch'"),
        (["x", "--health-port", "65536"], "'65536' is no port, 1 to 65535, or 0 for any that is free"),
        (["x", "--health-port", "-1"], "'-1' is no port"),
        (["health", "--health-port", "http"], "'http' is no port"),
        (["health", "--health-port", "0"], "error: port 0 is no port that can be asked"),
        (["health", "--live"], "error: --live asks a worker, and none was named"),
        (["health", "--timeout", "0"], "'0' is no time to wait"),
        (["health", "--url", "memory://"], "lives inside one process and can't be asked by another"),
        (["health", "--url", "h:6379"], "has no scheme"),
        (["health", "--url", "redis://h", "--queues", "a b"], "error: --queues='a b' is no name of a queue"),
        (["health", "--url", "redis://h", "--namespace", "a b"], "error: --namespace='a b' is no namespace"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_two(run, capsys, words, said):
    assert run(*words) == (2, [])
    out, err = capsys.readouterr()
    assert said in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 2
    assert not out


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (Mistake("no", "do this", detail="Traceback:\n  x", exit_code=1), 1, "error: no\ndo this\nTraceback:\n  x\n"),
        (UsageError("queues='a b' is not allowed; pass c"), 2, "error: --queues='a b' is not allowed\ngive c\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_ends_the_command_becomes_its_exit_code(run, monkeypatch, capsys, raised, code, said):
    def fail(_options):
        raise raised

    monkeypatch.setattr("aiotq.cli.supervise.run_processes", fail)
    assert run("hello:app") == (code, [])
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["worker", "-h"], ["hello:app", "--help"]])
def test_help_has_every_option_and_ends_with_an_example(run, capsys, words):
    assert run(*words) == (0, [])
    out, err = capsys.readouterr()
    names = {f"--{field.removesuffix('_s').replace('_', '-')}" for field in WorkerOptions.__dataclass_fields__}
    assert not (names - {"--target"}) - set(out.replace("\n", " ").split())
    assert out.rstrip().splitlines()[-1].lstrip().startswith("python -m aiotq shop.tasks:app ")
    assert not err


def test_the_help_of_health_ends_with_an_example(run, capsys):
    assert run("health", "-h") == (0, [])
    assert capsys.readouterr().out.rstrip().splitlines()[-1].lstrip() == "aiotq health --queues email"


def test_help_fits_a_narrow_terminal(run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run("-h")
    lines = capsys.readouterr().out.splitlines()
    options = [line for line in lines if line.startswith("  ") and "--" in line[:8]]
    assert len(options) >= 12
    assert all(len(line) <= 80 for line in options)


def test_the_version_is_one_line(run, capsys):
    assert run("--version") == (0, [])
    assert capsys.readouterr().out == f"aiotq {__version__}\n"
