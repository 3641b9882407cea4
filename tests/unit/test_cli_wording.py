"""Errors of the library in the words of the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aiotq import checks
from aiotq.cli.wording import in_options
from aiotq.errors import UsageError, parts
from aiotq.inspection import cursor, filters
from aiotq.inspection.values import JobFilter
from aiotq.options import NAMES, checked

OPTIONS = {"job_id": "--id", "cursor": "--cursor", "state": "--state"}
OPTIONS |= {name: f"--{name}" for name in ("priority", "queue", "countdown", "eta", "retries", "task", "error")}


def call(**given: Any) -> None:
    said: dict[str, Any] = {**dict.fromkeys(NAMES), "lifo": False, "durable": False}
    checked(**said | given)


@pytest.mark.parametrize(
    ("wrong", "first", "second"),
    [
        (lambda: call(job_id="a b"), "--id='a b' is no id of a job", "give 1 to 128 of A-Z a-z 0-9 _ . : -"),
        (lambda: call(priority=12), "--priority=12 is not allowed", "give a whole number from 0 (first) to 9 (last)"),
        (lambda: call(retries=-1), "--retries=-1 is not allowed", "give a whole number, 0 or more"),
        (lambda: filters.checked(JobFilter(task="")), "--task='' is not allowed", "give 1 to 500 characters"),
        (
            lambda: call(countdown=1, eta=datetime.now(UTC)),
            "--countdown=1 and --eta=datetime",
            "give one of them",
        ),
        (
            lambda: cursor.decoded("nonsense"),
            "--cursor='nonsense' is none that",
            "give the one behind --cursor that the page before named",
        ),
        (
            lambda: call(job_id="'; DROP"),
            '--id="\'; DROP" is no id of a job',
            "give 1 to 128 of A-Z a-z 0-9 _ . : -",
        ),
        (lambda: call(queue="; " * 50), "--queue='; ; ", "give 1 to 64 of A-Z a-z 0-9 _ . -"),
        (lambda: call(queue="'\"\\; " * 50), "--queue='\\'\"", "give 1 to 64 of A-Z a-z 0-9 _ . -"),
        (lambda: checks.word("label", ""), "label='' is not allowed", "give 1 to 255 characters without spaces"),
    ],
)
def test_a_parameter_is_the_option_that_sets_it(wrong: Any, first: str, second: str) -> None:
    with pytest.raises(UsageError) as caught:
        wrong()
    what, advice = in_options(str(caught.value), OPTIONS)
    assert what.startswith(first)
    assert advice == second


@pytest.mark.parametrize(
    ("message", "whole"),
    [
        ("", [""]),
        ("a; b; c", ["a", "b", "c"]),
        ("can't; don't; 'a; b'; the workers' queues", ["can't", "don't", "'a; b'", "the workers' queues"]),
        ("'open; b", ["'open", "b"]),
        ('too short; python -c "import secrets; print(1)"', ["too short", 'python -c "import secrets; print(1)"']),
        ("`a; b`; c", ["`a; b`", "c"]),
        ("x='it\\'s; \"'; z", ["x='it\\'s; \"'", "z"]),
    ],
)
def test_a_message_is_cut_between_its_parts_and_not_in_what_is_quoted(message: str, whole: list[str]) -> None:
    assert parts(message) == whole


def test_what_a_person_wrote_is_left_as_it_is() -> None:
    assert in_options("queue='x and task=y' is no name", OPTIONS) == ["--queue='x and task=y' is no name"]
