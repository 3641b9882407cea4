"""What jobs write, as values: bounded pages, harmless text, numbers, and what a stored log shows."""

from __future__ import annotations

import asyncio
import json
import logging
from contextvars import copy_context
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from aiotq import JobLogHandler
from aiotq.current import CURRENT, enlist
from aiotq.errors import UsageError
from aiotq.inspection.notes import log_lines, progress
from aiotq.store.notes import MOST_BYTES, MOST_LINES
from aiotq.worker.page import MOST_TEXT, Page, harmless, level, note
from tests.unit.test_current import a_job


class Told:
    """A scribe that keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int, str, object]] = []
        self.far: list[tuple[float, float | None, str | None]] = []
        self.number = enlist(self)

    def log(self, ticket: str, attempt: int, level_name: str, text: object) -> None:
        self.lines.append((ticket, attempt, level_name, text))

    def progress(self, ticket: str, attempt: int, done: float, of: float | None, word: str | None) -> None:
        self.far.append((done, of, word))


# --- current_job().log and .progress ------------------------------------------------------------------------------


def test_a_job_that_no_worker_gave_has_nobody_to_write_to() -> None:
    for act in (lambda: a_job().log("x"), lambda: a_job().progress(1)):
        with pytest.raises(UsageError, match=r"nobody takes down what job j1 writes: .* current_job\(\) gives"):
            act()


def test_a_line_names_its_attempt() -> None:
    told = Told()
    job = structs.replace(a_job(2), scribe=told.number, ticket="mail:5:AAAA:j1")
    job.log("hello")
    job.log("oh", level="error")
    assert told.lines == [("mail:5:AAAA:j1", 2, "info", "hello"), ("mail:5:AAAA:j1", 2, "error", "oh")]


def test_a_job_is_plain_data_still() -> None:
    job = structs.replace(a_job(), scribe=Told().number)
    assert json.loads(json.dumps(structs.asdict(job)))["scribe"] == job.scribe


@pytest.mark.parametrize("number", [3, 3.0, Decimal(3), Fraction(3)])
def test_progress_is_a_number_of_any_kind(number: Any) -> None:
    told = Told()
    structs.replace(a_job(), scribe=told.number).progress(number, of=number, note="x")
    assert told.far == [(3.0, 3.0, "x")]


@pytest.mark.parametrize("number", ["3", b"3", None, True, [3], 1j])
def test_progress_that_is_no_number_is_a_mistake_of_its_caller(number: Any) -> None:
    job = structs.replace(a_job(), scribe=Told().number)
    with pytest.raises(UsageError, match=r"progress\(done=.*\) is no number; pass how much is done"):
        job.progress(number)


async def test_to_await_progress_lets_others_have_their_turn() -> None:
    job, turns = structs.replace(a_job(), scribe=Told().number), list[str]()

    async def other() -> None:
        turns.append("other")

    task = asyncio.create_task(other())
    turns.append("mine")
    await job.progress(1)
    assert turns == ["mine", "other"]
    await task


# --- the handler --------------------------------------------------------------------------------------------------


def test_a_handler_outside_of_a_job_leaves_all_alone_and_inside_never_raises(capsys: pytest.CaptureFixture) -> None:
    told, handler = Told(), JobLogHandler()
    record = logging.LogRecord("shop", logging.INFO, "f", 1, "%s and %s", ("one",), None)
    handler.handle(record)
    assert capsys.readouterr().err == ""

    def inside() -> None:
        CURRENT.set(structs.replace(a_job(), scribe=told.number))
        handler.handle(record)
        handler.handle(logging.LogRecord("shop", logging.INFO, "f", 1, "fine", (), None))

    copy_context().run(inside)
    assert [line[3] for line in told.lines] == ["fine"]
    assert "not enough arguments" in capsys.readouterr().err


# --- pages --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, MOST_BYTES), max_size=3 * MOST_LINES))
def test_a_page_is_bounded_and_its_numbers_tell_what_is_missing(sizes: list[int]) -> None:
    page: Page[int, int] = Page()
    for size in sizes:
        page.add(size, size)
    kept = page.all()
    assert len(kept) <= MOST_LINES
    assert page.size == sum(line for _, line in kept)
    assert page.size <= MOST_BYTES or len(kept) == 1
    assert [number for number, _ in kept] == list(range(len(sizes) - len(kept) + 1, len(sizes) + 1))
    assert kept == [(number, sizes[number - 1]) for number, _ in kept]


def test_what_came_while_a_page_was_taken_stays() -> None:
    page: Page[str, object] = Page()
    page.progress = first = object()
    page.add("one", 3)
    taken = page.all()[-1][0]
    page.add("two", 3)
    assert page.taken(upto=taken, progress=first) == 3
    assert (page.all(), page.progress) == ([(2, "two")], None)
    page.progress = second = object()
    page.taken(upto=taken, progress=first)
    assert page.progress is second
    assert page


# --- text ---------------------------------------------------------------------------------------------------------

ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=4 * MOST_TEXT)


@given(ANY, st.integers(4, MOST_TEXT))
def test_any_text_becomes_one_that_can_be_stored_and_shown(text: str, most: int) -> None:
    said = harmless(text, most)
    assert len(said.encode()) <= most
    assert all(
        char.isprintable() or char in "\n\t" or not (ord(char) < 160 or 0x2028 <= ord(char) <= 0x202E) for char in said
    )
    assert json.loads(json.dumps(said)) == said


def test_text_that_is_fine_stays_as_it_is() -> None:
    for text in ("", "plain", "Grüße, 👩‍👩‍👧 العربية\n\tnext"):
        assert harmless(text, MOST_TEXT) == text


def test_words_of_any_kind_have_their_bounds() -> None:
    assert [level(name) for name in ("INFO", " Warn ing ", "", 20, "x" * 99)] == [
        "info",
        "warn ing",
        "info",
        "20",
        "x" * 16,
    ]
    assert (note(None), note(7), note("n" * 600)) == (None, "7", "n" * 500)


# --- what is stored -----------------------------------------------------------------------------------------------


def line(text: str, key: str = "", at: int = 1_795_439_224_123) -> bytes:
    return json.dumps({"at": at, "level": "info", "text": text, "attempt": 2, "k": key}).encode()


def test_a_gap_says_how_many_lines_are_missing() -> None:
    stored = [line("a", "1:1:8:9"), line("b", "1:2:9:9"), line("c", "2:4:1234:9")]
    lines = log_lines(stored, since_ms=0)
    assert [one.text for one in lines] == ["… 7 lines left out", "a", "b", "… 1,224 lines left out", "c"]
    assert {(one.at, one.attempt) for one in lines} == {(datetime(2026, 11, 23, 13, 7, 4, 123_000, tzinfo=UTC), 2)}
    assert log_lines([line("a", "1:1:2:9")], since_ms=0)[0].text == "… 1 line left out"


def test_lines_and_progress_of_an_earlier_job_of_the_id_are_not_shown() -> None:
    stored = [line("old", at=5), line("new", at=10)]
    assert [one.text for one in log_lines(stored, since_ms=10)] == ["new"]
    far = b'{"at":5,"done":1}'
    assert progress(far, since_ms=6) is None
    found = progress(far, since_ms=5)
    assert found is not None
    assert (found.done, found.of, found.note, found.attempt) == (1.0, None, None, 1)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode), st.just(b"[" * 10_000)))
def test_whatever_lies_there_is_no_error(data: bytes) -> None:
    log_lines([data, line("x", data.decode(errors="replace"))], since_ms=0)
    progress(data)
