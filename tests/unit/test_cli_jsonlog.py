"""Log lines for machines."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from aiotq.cli.jsonlog import JsonFormatter
from aiotq.errors import Frame
from aiotq.job import ErrorInfo


def line(message: str = "said", *args: object, exc_info=None, **extra) -> dict:
    given = {"name": "aiotq.worker", "levelno": logging.WARNING, "levelname": "WARNING", "msg": message, "args": args}
    record = logging.makeLogRecord({**given, "exc_info": exc_info, **extra})
    record.created = 1_800_000_000.25
    text = JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_holds_what_happened_and_nothing_of_the_logging_machinery():
    assert line("took %d ms", 5, event="succeeded", job_id="j1", task="hello:greet", attempt=1, took_ms=5) == {
        "ts": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "event": "succeeded",
        "logger": "aiotq.worker",
        "message": "took 5 ms",
        "job_id": "j1",
        "task": "hello:greet",
        "attempt": 1,
        "took_ms": 5,
    }


def test_a_line_that_is_no_event_has_none():
    assert "event" not in line("hello")


def test_an_error_is_its_type_message_and_frames():
    error = ErrorInfo(type="ValueError", message="no", frames=(Frame("hello.py", 9, "greet", "raise"),))
    frame = {"file": "hello.py", "line": 9, "function": "greet", "code": "raise"}
    assert line(error=error)["error"] == {"type": "ValueError", "message": "no", "frames": [frame]}
    assert line(error="connection refused")["error"] == "connection refused"


def test_a_traceback_comes_along():
    try:
        raise ValueError("no")
    except ValueError:
        said = line(exc_info=sys.exc_info())
    assert said["traceback"].endswith("ValueError: no")


def test_no_password_of_a_url_is_in_any_of_it():
    error = ErrorInfo(type="E", message="at redis://:secret@h")
    said = line("redis://:secret@h %s", "x@y", url="redis://me:secret@h/0", error=error, mail="a@b")
    assert "secret" not in json.dumps(said)
    assert (said["url"], said["mail"]) == ("redis://me:***@h/0", "a@b")


@pytest.mark.parametrize("odd", [object(), {1: object()}, b"\xff", {3}, float("inf"), "lone \ud800", {object(): 1}])
def test_whatever_an_extra_holds_the_line_is_json(odd):
    assert "odd" in line(odd=odd)


def test_an_extra_can_not_take_the_place_of_what_every_line_has():
    said = line(ts="mine", logger="mine", level="mine")
    assert said["logger"] == "aiotq.worker"
    assert said["extra_logger"] == said["extra_ts"] == said["extra_level"] == "mine"
