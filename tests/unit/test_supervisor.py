"""What the end of a worker process means, and what it and its supervisor say to each other."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aiotq.supervisor import words
from aiotq.supervisor.link import Link
from aiotq.supervisor.memory import resident_bytes, watched_memory
from aiotq.supervisor.supervisor import Plan, Supervisor
from aiotq.supervisor.verdict import End, Verdict, delay_s, exit_code, judge, said, worst
from aiotq.supervisor.words import Full, Ready, Registered, Retired, Seat

TERM = -signal.SIGTERM
KILL = -signal.SIGKILL


def end(code: int, **given: bool) -> End:
    """How one of several ended that has worked."""
    usual = {"ready": True, "full": False, "first": False, "stopping": False, "finite": False}
    return End(code=code, **{**usual, **given})


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (end(0, full=True), Verdict.REPLACE),
        (end(0), Verdict.RESTART),
        (end(1), Verdict.RESTART),
        (end(1, finite=True, ready=False), Verdict.HOPELESS),  # it could not reach the store in time
        (end(2), Verdict.RESTART),  # a job's os._exit(2)
        (end(KILL), Verdict.RESTART),
        (end(KILL, full=True), Verdict.RESTART),
        (end(0, finite=True), Verdict.DONE),
        (end(0, finite=True, full=True), Verdict.REPLACE),
        (end(1, finite=True), Verdict.RESTART),
        (end(2, ready=False), Verdict.HOPELESS),
        (end(1, ready=False), Verdict.RESTART),  # another one has worked: it may again
        (end(1, ready=False, first=True), Verdict.HOPELESS),
        (end(KILL, ready=False, first=True), Verdict.HOPELESS),
        (end(0, stopping=True), Verdict.DONE),
        (end(TERM, stopping=True, ready=False), Verdict.DONE),
    ],
)
def test_what_follows_from_an_end(ended, expected):
    assert judge(ended) is expected


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (end(0), 0),
        (end(2), 2),
        (end(KILL), 137),
        (end(TERM, stopping=True, ready=False), 0),
        (end(TERM, stopping=True), 143),
    ],
)
def test_an_exit_code_is_as_a_shell_shows_it(ended, code):
    assert exit_code(ended) == code


def test_the_worst_code_is_the_highest():
    assert worst([]) == 0
    assert worst([0, 2, 1]) == 2
    assert worst([0, 137, 1]) == 137


def test_an_end_in_words():
    assert said(3) == "ended with exit code 3"
    assert said(KILL) == "was killed by SIGKILL"
    assert said(-40) == "was killed by signal 40"


def test_restarts_wait_longer_each_time_up_to_a_bound_and_spread():
    assert [delay_s(failures, spread=1.0) for failures in (1, 2, 3, 7, 1_000)] == [0.5, 1.0, 2.0, 30.0, 30.0]
    assert delay_s(1, spread=0.0) == 0.25


def test_a_seat_is_taken_once():
    seat = Seat(number=2, count=3, label="anna", socket=7, first=False)
    environ = words.given(seat, {"PATH": "/bin"})
    assert words.take(environ) == seat
    assert environ == {"PATH": "/bin"}
    assert words.take(environ) is None
    assert seat.name == "anna/2"


@pytest.mark.parametrize(
    "word", [Registered(url="redis://:p@h", namespace="n", worker_id="w", lease_s=1.5), Retired(), Ready(), Full()]
)
def test_every_word_arrives_as_it_was_said(word):
    assert words.decode(words.encode(word)) == word


async def test_a_worker_hears_its_supervisors_word_and_its_end():
    ours, theirs = socket.socketpair()
    link = Link(Seat(number=1, count=1, label="anna", socket=os.dup(theirs.fileno()), first=True))
    theirs.close()
    heard: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    with link.listening(loop, now=lambda: heard.put_nowait("now"), gone=lambda: heard.put_nowait("gone")):
        link.tell(Ready())
        assert words.decode(ours.recv(100)) == Ready()
        ours.send(words.NOW)
        assert await heard.get() == "now"
        assert not link.gone()
        ours.close()
        assert await heard.get() == "gone"
        assert link.gone()
        link.tell(Full())  # to nobody: no reason to stop
    link.close()


async def test_memory_above_the_limit_is_told_once_after_a_job():
    done, told = [0], asyncio.get_running_loop().create_future()
    with watched_memory(asyncio.get_running_loop(), limit=1, done=lambda: done[0], over=told.set_result):
        done[0] = 1
        assert await asyncio.wait_for(told, 5) > 1 << 20
    assert resident_bytes() > 1 << 20


async def test_processes_that_had_enough_before_their_first_job_are_replaced_slower_each_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    failures: list[int] = []

    def at_once(failed: int, *, spread: float) -> float:
        assert 0 <= spread <= 1
        failures.append(failed)
        return 0.0

    monkeypatch.setattr("aiotq.supervisor.verdict.delay_s", at_once)
    supervisor = Supervisor(Plan(count=2, label="anna", finite=False))
    for early in (True, True, False):
        full = asyncio.get_running_loop().create_future()
        full.set_result(Full(early=early))
        child = SimpleNamespace(number=2, full=full, process=SimpleNamespace(pid=7))
        await supervisor._replace(cast("Any", child))
    assert failures == [1, 2, 2]
    assert "anna/2 (pid 7) had enough before it had ended a job; starting another in" in caplog.text
