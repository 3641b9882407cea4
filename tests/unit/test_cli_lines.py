"""What a worker's console shows of each event."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from aiotq.cli.event import Event
from aiotq.cli.lines import Layout, event_lines, short_names
from aiotq.cli.look import Look, plain
from aiotq.errors import Frame
from aiotq.job import ErrorInfo

SYMBOLS = Layout(look=Look(terminal=True, symbols=True), width=100, tasks={"hello:greet": "greet"}, task_width=5)
WORDS = Layout(look=Look(), clock_width=19, tasks={"hello:greet": "greet"}, task_width=5)
NO_BOBS = ErrorInfo(
    type="ValueError", message="no Bobs", frames=(Frame("hello.py", 9, "greet", 'raise ValueError("no Bobs")'),)
)


def job(name: str, *, level: int = logging.INFO, **given) -> Event:
    first = {"attempt": 1, "attempts": 4, **given}
    known = {"name": name, "level": level, "message": "", "job_id": "0193a1b2c3d47e6f8a9b0c1d2ea1f9c2"}
    return Event(**{**known, "task": "hello:greet", **first})


def shown(event: Event, layout: Layout = SYMBOLS, **options) -> list[str]:
    clock = "13:10:37" if layout.clock_width == 8 else "2026-01-02 13:10:37"
    return [plain(line) for line in event_lines(event, layout, clock, **options)]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (job("started", waited_ms=3), "13:10:37  ▶ greet  a1f9c2  waited 3 ms"),
        (job("started", waited_ms=3, attempt=2), "13:10:37  ▶ greet  a1f9c2  attempt 2 of 4, waited 3 ms"),
        (job("succeeded", took_ms=502.2), "13:10:37  ✔ greet  a1f9c2  took 502 ms"),
        (job("cancelled", reason="cancelled"), "13:10:37  ⊘ greet  a1f9c2  cancelled"),
        (job("cancelled", reason="expired"), "13:10:37  ⊘ greet  a1f9c2  expired before it started"),
        (job("returned"), "13:10:37  ↩ greet  a1f9c2  put back to the front of its queue"),
        (
            job("postponed", level=logging.ERROR, message="hello:greet 0193a1b2c3d47e6f8a9b0c1d2ea1f9c2: unknown"),
            "13:10:37  ↻ greet  a1f9c2  unknown",
        ),
        (
            job("arguments", level=logging.DEBUG, message='hello:greet 0193a1b2c3d47e6f8a9b0c1d2ea1f9c2 ["Ada"]'),
            '13:10:37  · greet  a1f9c2  ["Ada"]',
        ),
    ],
)
def test_a_job_has_one_tidy_line(event, line):
    assert shown(event) == [line]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            job("retried", error=NO_BOBS, delay_ms=2_000),
            "13:10:37  ✖ greet  a1f9c2  ValueError: no Bobs  attempt 1 of 4, again in 2 s",
        ),
        (
            job("failed", error=NO_BOBS, attempt=4, reason="error"),
            "13:10:37  ☠ greet  a1f9c2  ValueError: no Bobs  gave up after 4 attempts",
        ),
        (
            job("failed", error=NO_BOBS, attempts=1, reason="error"),
            "13:10:37  ☠ greet  a1f9c2  ValueError: no Bobs  gave up after 1 attempt",
        ),
        (
            job("failed", error=NO_BOBS, attempt=2, reason="error"),
            "13:10:37  ☠ greet  a1f9c2  ValueError: no Bobs  gave up in attempt 2 of 4",
        ),
        (
            job("failed", error=NO_BOBS, reason="lost"),
            "13:10:37  ☠ greet  a1f9c2  ValueError: no Bobs  gave up: lost",
        ),
    ],
)
def test_a_failure_says_what_comes_next_and_where_it_was(event, line):
    place = ["            hello.py:9 in greet", '              raise ValueError("no Bobs")']
    assert shown(event) == [line, *place]
    assert shown(event, frames=False) == [line]


def test_columns_stay_where_they_are_in_words():
    assert shown(job("started", waited_ms=3), WORDS) == ["2026-01-02 13:10:37  started   greet  a1f9c2  waited 3 ms"]
    assert shown(job("retried", error=NO_BOBS, delay_ms=2_000), WORDS) == [
        "2026-01-02 13:10:37  retried   greet  a1f9c2  ValueError: no Bobs  attempt 1 of 4, again in 2 s",
        "                               hello.py:9 in greet",
        '                                 raise ValueError("no Bobs")',
    ]


def test_an_error_that_does_not_fit_beside_its_note_stands_below_it():
    narrow = replace(SYMBOLS, width=60)
    error = replace(
        NO_BOBS, message="there is nobody of that name in the whole house, not even in the attic", frames=()
    )
    assert shown(job("retried", error=error, delay_ms=2_000), narrow) == [
        "13:10:37  ✖ greet  a1f9c2  attempt 1 of 4, again in 2 s",
        "            ValueError: there is nobody of that name in the",
        "            whole house, not even in the attic",
    ]


def test_where_not_even_the_note_fits_it_goes_below_as_well():
    cramped = replace(SYMBOLS, width=40)
    assert shown(job("retried", error=replace(NO_BOBS, frames=()), delay_ms=2_000), cramped) == [
        "13:10:37  ✖ greet  a1f9c2",
        "            attempt 1 of 4, again in 2 s",
        "            ValueError: no Bobs",
    ]


def test_a_message_that_is_too_long_for_the_terminal_goes_on_below():
    narrow = replace(SYMBOLS, width=50)
    assert shown(event("blocked", level=logging.WARNING, message=f"greet {'stood still ' * 5}there"), narrow) == [
        "13:10:37  ! greet stood still stood still stood",
        "            still stood still stood still there",
    ]


def test_an_error_of_many_lines_is_cut_and_shown_whole_when_verbose():
    error = replace(NO_BOBS, message="\n".join(f"line {number}" for number in range(9)), frames=())
    cut = shown(job("failed", error=error, attempt=4))
    assert cut[1:] == [
        *["            ValueError: line 0", *(f"            line {number}" for number in range(1, 5))],
        "            (4 more lines: -v shows them)",
    ]
    verbose = replace(SYMBOLS, look=replace(SYMBOLS.look, verbose=True))
    assert shown(job("failed", error=error, attempt=4), verbose)[-1] == "            line 8"


def test_in_a_file_an_error_is_one_line_however_long():
    error = replace(NO_BOBS, message="one\ntwo " + "x" * 2_000, frames=())
    (line,) = shown(job("failed", error=error, attempt=4), WORDS)
    assert "ValueError: one\\ntwo xxx" in line
    assert line.endswith("xxx...  gave up after 4 attempts")
    assert len(line) < 1_200


def test_a_deep_traceback_shows_its_inner_end():
    frames = tuple(Frame("deep.py", line, "down", "down()") for line in range(30))
    lines = shown(job("failed", error=replace(NO_BOBS, frames=frames), attempt=4))
    assert lines[1] == "            (24 frames left out: -v shows them)"
    assert lines[-2] == "            deep.py:29 in down"
    assert len(lines) == 2 + 6 * 2


def test_a_path_that_is_too_long_keeps_its_end():
    narrow = replace(SYMBOLS, width=50)
    frame = Frame("/usr/lib/python3/site-packages/a_package/client.py", 7, "send", "")
    assert shown(job("failed", error=replace(NO_BOBS, frames=(frame,)), attempt=4), narrow)[-1] == (
        "            .../a_package/client.py:7 in send"
    )


def test_verbose_shows_the_whole_id_and_all_frames():
    verbose = replace(SYMBOLS, look=replace(SYMBOLS.look, verbose=True))
    event = replace(job("failed", error=NO_BOBS, attempt=4), trace="Traceback:\n  deep inside\nValueError: no Bobs")
    assert shown(event, verbose) == [
        "13:10:37  ☠ greet  0193a1b2c3d47e6f8a9b0c1d2ea1f9c2  ValueError: no Bobs  gave up after 4 attempts",
        *["            Traceback:", "              deep inside", "            ValueError: no Bobs"],
    ]


def test_nothing_that_a_job_says_reaches_the_terminal_as_it_is():
    event = job("failed", error=ErrorInfo(type="E\x1b", message="[red]\x1b[2J\x07"), attempt=4)
    event = replace(event, task="evil\x1b[1m", job_id="id\x1b\x07")
    said = "".join(shown(event))
    assert said.isprintable()
    assert "[red]" in said


def test_a_task_that_is_not_known_here_keeps_the_columns_of_a_terminal():
    long_name = replace(job("postponed", message="unknown"), task="shop.tasks:send_a_very_long_letter")
    assert shown(long_name) == ["13:10:37  ↻ shop.ta…  a1f9c2  unknown"]
    assert "shop.tasks:send_a_very_long_letter" in shown(long_name, WORDS)[0]


def test_tasks_are_shown_by_their_function_unless_two_share_it():
    assert short_names(["shop.mail:send", "shop.sms:send", "shop.mail:render", "named"]) == {
        "shop.mail:send": "shop.mail:send",
        "shop.sms:send": "shop.sms:send",
        "shop.mail:render": "render",
        "named": "named",
    }


def event(name: str, *, level: int = logging.INFO, message: str = "", **given) -> Event:
    return Event(name=name, level=level, message=message, **given)


def test_stopping_says_what_runs_how_long_it_waits_and_what_a_second_one_does():
    stopping = event("stopping", running=1, grace_s=30.0)
    said = "stopping: 1 job still running, waiting up to 30 s"
    hint = "(Ctrl-C again to stop now; it goes back to its queue)"
    assert shown(stopping, replace(SYMBOLS, width=120)) == [f"  {said} {hint}"]
    assert shown(stopping, replace(SYMBOLS, width=80)) == [f"  {said}", f"  {hint}"]
    assert shown(stopping, WORDS) == [f"2026-01-02 13:10:37  {said} {hint}"]
    several = shown(event("stopping", running=2, grace_s=30.0), replace(SYMBOLS, width=120))
    assert several == [
        "  stopping: 2 jobs still running, waiting up to 30 s (Ctrl-C again to stop now; they go back to their queues)"
    ]


def test_with_nothing_running_there_is_nothing_to_wait_for():
    assert shown(event("stopping", running=0, grace_s=30.0)) == []


def test_the_tally_adds_up_what_was_done():
    tally = {"succeeded": 1_041, "failed": 1, "retried": 2, "returned": 0, "cancelled": 0}
    stopped = event("stopped", tally=tally, up_s=192.0)
    assert shown(stopped) == ["  bye. 1,041 succeeded, 1 failed, 2 retried, 0 put back, up 3 m 12 s"]
    some = shown(replace(stopped, tally={**tally, "cancelled": 3}))
    assert some == ["  bye. 1,041 succeeded, 1 failed, 2 retried, 0 put back, 3 cancelled, up 3 m 12 s"]


def test_a_server_that_goes_away_is_named_once_with_the_reason():
    down = event("store_down", level=logging.ERROR, url="redis://localhost:6379", error="[Errno 111] Connect failed")
    assert shown(down) == ["13:10:37  ✖ no Redis at redis://localhost:6379 (connection refused), trying again"]
    assert shown(event("store_up", level=logging.WARNING, message="connected again after 5.1 s")) == [
        "13:10:37  ✔ connected again after 5.1 s"
    ]


def test_any_other_line_has_its_time_and_level_and_whose_it_is():
    assert shown(event("blocked", level=logging.WARNING, message="greet blocked the loop\n  hello.py:3")) == [
        "13:10:37  ! greet blocked the loop",
        "              hello.py:3",
    ]
    theirs = event("", level=logging.ERROR, message="it broke\x1b", logger="shop.mail")
    assert shown(replace(theirs, trace="Traceback:\n  x"), WORDS) == [
        "2026-01-02 13:10:37  error     shop.mail: it broke\\x1b",
        "                               Traceback:",
        "                                 x",
    ]
