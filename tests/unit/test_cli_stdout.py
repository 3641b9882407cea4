"""A stdout that takes no more: a full disk, a reader that has had enough."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiotq.cli import main as command_line
from aiotq.cli.operate import reach
from tests.unit.overviews import an_overview

FULL = Path("/dev/full")


class Refusing(io.StringIO):
    """Takes nothing; at: "write", or only at the "flush"."""

    def __init__(self, number, at):
        super().__init__()
        self.error, self.at = OSError(number, os.strerror(number)), at

    def write(self, text):
        if self.at == "write":
            raise self.error
        return len(text)

    def flush(self):
        raise self.error


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command line; the exit code and stderr."""

    async def within(_app, work):
        class Inspector:
            async def overview(self):
                return an_overview()

        return await work(Inspector())

    monkeypatch.setattr(reach, "_within", within)

    def run(stdout, *words):
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "argv", ["aiotq", *words])
        code = command_line.main()
        assert sys.stdout is stdout
        return code, capsys.readouterr().err

    return run


EACH = [
    ("status", "--url", "redis://nowhere"),
    ("status", "--json", "--url", "redis://nowhere"),
    ("completion", "fish"),
    ("server", "status"),
    ("jobs", "--help"),
    ("--help",),
    ("--version",),
]


@pytest.mark.parametrize("at", ["write", "flush"])
@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_a_full_disk_is_one_line_and_exit_code_1(run, words, at):
    code, err = run(Refusing(errno.ENOSPC, at), *words)
    assert (code, err) == (1, "error: could not write to stdout: No space left on device\n")


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_a_reader_that_has_had_enough_is_no_failure_and_not_told(run, words):
    assert run(Refusing(errno.EPIPE, "write"), *words) == (0, "")


def test_where_stderr_is_full_as_well_the_exit_code_tells(run, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Refusing(errno.ENOSPC, "write"))
    assert run(Refusing(errno.ENOSPC, "write"), "--help") == (1, "")


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_where_stdout_is_closed_it_is_one_line_and_exit_code_1(run, words):
    assert run(None, *words) == (1, "error: could not write to stdout: it is closed\n")


def test_where_stderr_is_closed_the_answer_comes_and_the_exit_code_tells(run, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    answer = io.StringIO()
    assert run(answer, "status", "--url", "redis://nowhere")[0] == 0
    assert "aiotq at redis://nowhere" in answer.getvalue()
    assert run(answer, "status", "--nosuch")[0] == 2
    assert sys.stderr is None


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_python_does_not_complain_as_it_ends():
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "aiotq", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "error: could not write to stdout: No space left on device\n")
