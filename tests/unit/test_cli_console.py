"""The console: a logging handler, as the worker's loggers use it."""

from __future__ import annotations

import io
import logging

import pytest

from aiotq.cli.console import Console
from aiotq.cli.look import Look, Paper
from aiotq.errors import Frame
from aiotq.job import ErrorInfo

JOB = {"job_id": "0193a1b2c3d47e6f8a9b0c1d2ea1f9c2", "task": "hello:greet", "queue": "default", "attempt": 1}
BROKEN = ErrorInfo(type="ValueError", message="no", frames=(Frame("hello.py", 9, "greet", "raise"),))


class Desk:
    """A console on a stream that can be read, and a clock that the test moves."""

    def __init__(self, *, level: int = logging.INFO, verbose: bool = False) -> None:
        self.now_s = 0.0
        self.stream = io.StringIO()
        look = Look(terminal=True, symbols=True, verbose=verbose)
        self.console = Console(Paper(self.stream, look), level=level, steady=lambda: self.now_s)
        self.console.starting(tasks=["hello:greet", "hello:fail"], source="from AIOTQ_URL")
        self.console.ready()

    def log(self, name: str, level: int = logging.INFO, *, message: str = "said", args: tuple = (), **extra) -> None:
        """As a logger would pass it on."""
        if level >= self.console.level:
            known = {"name": "aiotq.worker", "levelno": level, "msg": message, "args": args}
            self.console.handle(logging.makeLogRecord({**known, "event": name, **extra}))

    def lines(self) -> list[str]:
        """What was written since the last look, without the clock."""
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return [line[10:] if line[2:3] == ":" else line for line in text.splitlines()]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_events_become_lines(desk):
    desk.log("started", waited_ms=3, **JOB)
    desk.log("succeeded", took_ms=502, **JOB)
    desk.log("stopped", tally={"succeeded": 1}, up_s=2.0)
    assert desk.lines() == [
        *["▶ greet  a1f9c2  waited 3 ms", "✔ greet  a1f9c2  took 502 ms"],
        "  bye. 1 succeeded, 0 failed, 0 retried, 0 put back, up 2 s",
    ]


@pytest.mark.parametrize(
    ("url", "error", "hint"),
    [
        ("redis+sentinel://h:1/jobs", "no sentinel that answers knows a service 'jobs'", "see that most of these sent"),
        ("redis://h:1", "Connection reset by peer", "if it speaks TLS, write rediss://; else start Redis"),
        ("rediss://h:1", "no answer in time", "if it speaks no TLS, write redis://; else start Redis"),
        ("rediss://h:1", "[Errno 111] Connect failed", "start Redis, or use --url embedded://"),
    ],
)
def test_what_to_do_about_a_missing_server_depends_on_what_was_met(desk, url, error, hint):
    desk.console.starting(tasks=[], source="from --url")
    desk.log("store_down", logging.ERROR, url=url, error=error)
    assert desk.lines()[1].startswith(f"from --url; {hint}")


def test_before_the_worker_is_ready_a_missing_server_is_a_mistake_that_says_what_to_do(desk):
    desk.console.starting(tasks=[], source="from AIOTQ_URL")
    desk.log("store_down", logging.ERROR, url="redis://:secret@h:1", error="[Errno 111] Connect failed")
    desk.console.ready()
    desk.log("store_down", logging.ERROR, url="redis://:secret@h:1", error="[Errno 111] Connect failed")
    said = "no Redis at redis://:***@h:1 (connection refused), trying again"
    assert desk.lines() == [f"error: {said}", "from AIOTQ_URL; start Redis, or use --url embedded://", f"✖ {said}"]


def test_the_place_of_a_failure_is_shown_once_a_job(desk):
    for attempt in (1, 2):
        desk.log("retried", logging.WARNING, error=BROKEN, delay_ms=1_000, attempts=3, **{**JOB, "attempt": attempt})
    elsewhere = ErrorInfo(type="ValueError", message="no", frames=(Frame("hello.py", 12, "greet", ""),))
    desk.log("failed", logging.ERROR, error=elsewhere, attempts=3, **{**JOB, "attempt": 3})
    assert [line.strip() for line in desk.lines()] == [
        "✖ greet  a1f9c2  ValueError: no  attempt 1 of 3, again in 1 s",
        *["hello.py:9 in greet", "raise"],
        "✖ greet  a1f9c2  ValueError: no  attempt 2 of 3, again in 1 s",
        "☠ greet  a1f9c2  ValueError: no  gave up after 3 attempts",
        "hello.py:12 in greet",
    ]


def test_verbose_shows_it_every_time():
    desk = Desk(verbose=True)
    for attempt in (1, 2):
        desk.log("retried", logging.WARNING, error=BROKEN, delay_ms=1_000, **{**JOB, "attempt": attempt})
    assert sum("hello.py:9 in greet" in line for line in desk.lines()) == 2


def test_many_jobs_a_second_become_one_line_a_second(desk):
    for _ in range(500):
        desk.log("started", waited_ms=1, **JOB)
        desk.log("succeeded", took_ms=1, **JOB)
    assert len(desk.lines()) == 2 * 50
    desk.now_s = 1.3
    desk.log("started", waited_ms=1, **JOB)
    assert desk.lines() == ["»    500 started     500 succeeded       0 failed       0 retried"]
    desk.now_s = 2.6
    desk.console.tick()
    assert desk.lines() == ["»      1 started       0 succeeded       0 failed       0 retried"]
    desk.log("started", waited_ms=1, **JOB)
    assert desk.lines() == ["▶ greet  a1f9c2  waited 1 ms"]


def test_what_the_worker_has_counted_itself_is_in_that_line(desk):
    for _ in range(60):
        desk.log("started", waited_ms=1, **JOB)
    desk.lines()
    desk.log("rate", counts={"started": 940, "succeeded": 1_000})
    assert desk.lines() == ["»  1,000 started   1,000 succeeded       0 failed       0 retried"]


def test_of_many_failures_a_second_a_few_are_shown_and_their_place_once(desk):
    desk.log("rate", counts={"started": 900})
    desk.lines()
    for number in range(300):
        job = {**JOB, "job_id": f"job{number:03}"}
        desk.log("failed", logging.ERROR, error=BROKEN, attempts=1, **job)
    lines = desk.lines()
    assert sum("ValueError: no" in line for line in lines) == 5
    assert sum("hello.py:9 in greet" in line for line in lines) == 1


def test_the_last_counts_come_before_the_farewell(desk):
    desk.log("rate", counts={"started": 900})
    for _ in range(300):
        desk.log("succeeded", took_ms=1, **JOB)
    desk.log("stopped", tally={"succeeded": 1_200}, up_s=1.0)
    assert [line.split()[0] for line in desk.lines()] == ["»", "»", "bye."]


def test_closing_shows_what_was_counted(desk):
    desk.log("rate", counts={"started": 900})
    desk.lines()
    desk.log("started", waited_ms=1, **JOB)
    desk.console.close()
    assert desk.lines() == ["»      1 started       0 succeeded       0 failed       0 retried"]


def test_quiet_shows_warnings_and_errors_and_no_counts():
    desk = Desk(level=logging.WARNING)
    for _ in range(500):
        desk.log("started", waited_ms=1, **JOB)
    desk.now_s = 2.0
    desk.log("failed", logging.ERROR, error=BROKEN, attempts=1, **JOB)
    desk.console.close()
    assert [line.split()[0] for line in desk.lines()] == ["☠", "hello.py:9", "raise"]


def test_what_the_banner_says_no_line_repeats(desk):
    desk.log("ready")
    desk.log("built_in", logging.WARNING)
    assert desk.lines() == []


def test_a_line_that_can_not_be_shown_ends_nothing(desk, capsys):
    desk.log("odd", message="%d", args=("no number",))
    desk.log("succeeded", took_ms=1, **JOB)
    assert desk.lines() == ["✔ greet  a1f9c2  took 1 ms"]
    assert "TypeError" in capsys.readouterr().err
