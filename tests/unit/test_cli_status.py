"""`aiotq status` and `top`: what their screens say."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from aiotq.cli.look import plain
from aiotq.cli.operate import parts, top
from aiotq.cli.operate.reach import Where
from aiotq.cli.operate.status import ROWS, screen, shares
from aiotq.cli.operate.table import cells
from aiotq.cli.operate.top import Turn, charted, frame
from aiotq.errors import StoreUnavailable
from aiotq.inspection.values import Counts, Histogram, Severity
from aiotq.source import Source
from tests.unit.overviews import (
    NARROW,
    NOW,
    PIPE,
    TERMINAL,
    VERBOSE,
    a_failure,
    a_finding,
    a_queue,
    a_running,
    a_server,
    a_worker,
    ago,
    an_overview,
    some_minutes,
    text,
)

PLACE = "redis://localhost:6379 (from AIOTQ_URL), namespace aiotq"
HOSTILE = "\x1b[2J<script>\n\u202e"
BUSY = an_overview(
    queues=tuple(a_queue(name=f"q{number}", waiting=number, oldest_age_s=float(number)) for number in range(30)),
    workers=tuple(a_worker(label=f"host-{number}", jobs=(a_running(),)) for number in range(30)),
    failures=tuple(a_failure(error=f"E{number}", message="x" * 200) for number in range(30)),
)


def test_where_all_is_well_the_first_lines_say_so():
    said = text(screen(an_overview(), TERMINAL, place=PLACE)).splitlines()
    assert said[0].startswith(f"aiotq at {PLACE}, ")
    assert said[1] == "✔ all is well"


def test_a_normal_system_takes_one_screen_of_24_lines_and_80_columns():
    for overview in (an_overview(), BUSY):
        lines = screen(overview, TERMINAL, place=PLACE)
        assert len(lines) <= ROWS
        assert all(cells(plain(line)) <= 80 for line in lines)
    assert text(screen(BUSY, TERMINAL, place=PLACE)).count(" more: aiotq ") == 3


def test_verbose_shows_all_rows():
    said = text(screen(BUSY, VERBOSE, place=PLACE))
    assert all(f"q{number} " in said and f"host-{number} " in said for number in range(30))
    assert " more: " not in said


def test_each_finding_stands_with_its_hint_the_worst_first_and_is_never_left_out_for_tables():
    findings = (a_finding(), a_finding(severity=Severity.WARNING, what="late", hint="aiotq workers"))
    said = text(screen(replace(BUSY, findings=findings), TERMINAL, place=PLACE)).splitlines()
    assert said[1] == "✖ 1 thing is wrong: jobs fail, wait or stand still (and 1 lesser one)"
    assert said[2:6] == ["  ✖ the queue mail is paused", "    aiotq resume mail", "  ! late", "    aiotq workers"]


@pytest.mark.parametrize(
    ("severities", "said"),
    [
        ([], "✔ all is well"),
        ([Severity.NOTE], "✔ all is well (and 1 note)"),
        ([Severity.WARNING, Severity.NOTE], "! 1 thing is worth a look (and 1 lesser one)"),
        ([Severity.WARNING] * 2, "! 2 things are worth a look"),
        ([Severity.CRITICAL] * 2, "✖ 2 things are wrong: jobs fail, wait or stand still"),
    ],
)
def test_one_line_says_how_bad_it_is(severities, said):
    assert plain(parts.health([a_finding(severity=severity) for severity in severities], TERMINAL)) == said


def test_many_findings_are_cut_with_their_number():
    findings = tuple(a_finding(what=f"finding {number}") for number in range(9))
    said = text(screen(an_overview(findings=findings), TERMINAL, place=PLACE))
    assert "finding 5" in said
    assert "finding 6" not in said
    assert "and 3 more: aiotq status -v" in said


def test_words_stand_for_symbols_where_there_are_none():
    said = text(screen(an_overview(findings=(a_finding(),)), PIPE, place=PLACE))
    assert said.isascii()
    assert "critical: 1 thing is wrong" in said
    assert "  critical  the queue mail is paused\n            aiotq resume mail" in said


def test_an_empty_namespace_explains_itself():
    empty = an_overview(queues=(), workers=(), failures=(), minutes=(), scheduled=0, dead=0)
    said = text(screen(empty, TERMINAL, place=PLACE))
    assert "No queue and no worker has been seen here" in said
    assert "start a worker: python -m aiotq MODULE:APP\n" in said


def test_a_queue_that_stands_comes_first_and_says_why():
    queues = [
        a_queue(name="a", waiting=9, oldest_age_s=9000.0),
        a_queue(name="z", waiting=1, paused=True, oldest_age_s=1.0),
    ]
    queues += [a_queue(name="y", workers=0, waiting=3, suspects=2, oldest_age_s=2.0)]
    said = text(parts.queues(queues, TERMINAL)).splitlines()
    assert [line.split()[0] for line in said] == ["QUEUE", "y", "z", "a"]
    assert said[1].endswith("no worker, 2 suspects")
    assert said[2].endswith("paused")


def test_a_worker_in_trouble_comes_first_with_its_slots():
    workers = [a_worker(label="a"), a_worker(label="b", stuck=2, used=3, jobs=(a_running(),))]
    workers += [a_worker(label="c", state="blocked", blocked_s=12.0)]
    said = text(parts.workers(workers, replace(PIPE, width=None))).splitlines()
    assert [line.split()[0] for line in said] == ["WORKER", "b", "c", "a"]
    assert "working, 2 stuck" in said[1]
    assert "1 m 30 s send_mail" in said[1]
    assert "blocked 12 s" in said[2]


def test_the_server_says_what_hurts():
    said = text(parts.server(a_server(writable=False, persistence="none", role="slave"), PIPE))
    assert "REFUSES WRITES" in said
    assert "saves nothing" in said
    assert "role slave" in said
    unknown = a_server(uptime_s=None, memory=None, policy=None, clients=None, role=None, persistence=None, ping_s=None)
    assert text(parts.server(unknown, PIPE)) == "server    Valkey 9.1.2"


def test_traffic_is_counted_and_measured_over_all_minutes():
    said = text(parts.traffic(some_minutes(), PIPE))
    assert said == "last hour 600 enqueued, 600 succeeded; half waited <= 1 ms, 99 % <= 2 ms"
    assert parts.merged([Histogram(), Histogram(counts=(1, *(0,) * 16), total_s=0.5)]).number == 1
    assert parts.merged([]).number == 0


@pytest.mark.parametrize("sheet", [TERMINAL, NARROW, PIPE])
def test_what_others_wrote_is_harmless(sheet):
    hostile = an_overview(
        findings=(a_finding(what=HOSTILE, hint=HOSTILE),),
        queues=(a_queue(name=HOSTILE),),
        workers=(a_worker(label=HOSTILE, queues=(HOSTILE,), jobs=(a_running(task=HOSTILE),), version=HOSTILE),),
        failures=(a_failure(task=HOSTILE, error=HOSTILE, message=HOSTILE, job_id=HOSTILE),),
        server=a_server(version=HOSTILE, policy=HOSTILE),
    )
    for line in screen(hostile, sheet, place=HOSTILE):
        assert plain(line).isprintable() or not plain(line)


def test_a_long_error_leaves_the_job_in_sight():
    _, row = text(parts.failures([a_failure(message="x" * 200)], PIPE, NOW)).splitlines()
    assert row.endswith("c4d210")
    assert len(row) < 120


def test_room_is_shared_evenly_and_every_table_gets_some():
    assert shares(20, [3, 4, 5]) == [3, 4, 5]
    assert shares(0, [3, 4, 1]) == [2, 2, 1]
    assert shares(12, [30, 30, 30]) == [3, 3, 3]  # and a line each for what is left out
    assert shares(12, [1, 30, 30]) == [1, 5, 4]
    assert shares(5, [0, 0, 0]) == [0, 0, 0]


# --- top ------------------------------------------------------------------------------------------------------------


def test_top_draws_a_bar_a_minute():
    minutes = tuple(Counts(start=ago(60 * (3 - n)), enqueued=n * 4, succeeded=n) for n in range(3))
    assert text(charted(minutes, TERMINAL)).splitlines() == [
        "enqueued   ▄█ 8 now, at most 8/min",
        "succeeded  ▄█ 2 now, at most 2/min",
    ]
    assert text(charted(minutes, PIPE)).splitlines()[0] == "enqueued  8 now, at most 8/min"


def test_top_says_that_the_server_is_away_above_what_it_last_saw():
    turn = Turn(overview=an_overview(), trouble="no answer (connection refused): redis://h (from --url)")
    first, second, third, *_ = text(frame(turn, PIPE, place=PLACE, rows=None)).splitlines()
    assert first == "no answer (connection refused): redis://h (from --url)"
    assert second.startswith("trying again; what stands below is of ")
    assert third.startswith("aiotq at ")


@pytest.mark.parametrize("rows", [10, 24, 40, 100])
def test_top_fits_its_terminal_if_that_is_not_tiny(rows):
    lines = frame(Turn(overview=BUSY), TERMINAL, place=PLACE, rows=rows)
    assert len(lines) <= max(rows, 26)
    assert all(cells(plain(line)) <= 80 for line in lines)


def test_the_time_is_that_of_the_server():
    assert plain(screen(an_overview(), PIPE, place=PLACE)[0]).endswith(f"{NOW.astimezone():%H:%M:%S}")


async def test_as_json_an_outage_is_an_object_and_top_goes_on(capsys: pytest.CaptureFixture[str]):
    class Over(Exception):
        pass

    class Inspector:
        answers = iter(
            [
                StoreUnavailable("refused", verb="overview", url="redis://:***@localhost:1", sent=False),
                an_overview(),
                Over(),
            ]
        )

        async def overview(self) -> Any:
            answer = next(self.answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

    source = Source(url="redis://:secret@localhost:1", origin="--url")
    inspector: Any = Inspector()
    look = partial(top._look, inspector, source)
    with pytest.raises(Over):
        await top._plain(Where(as_json=True), Turn(overview=an_overview()), look, PLACE, every_s=0.001, once=False)
    first, away, back = map(json.loads, capsys.readouterr().out.splitlines())
    assert away["error"].startswith("no answer (")
    assert "secret" not in away["error"]
    assert first.keys() == back.keys()


def test_a_command_of_a_hint_is_never_broken_in_two():
    command = f"redis-cli -s /run/{'x' * 60}/redis.sock CONFIG SET maxmemory 5mb"
    hint = f"give it more: {command}; or make room (aiotq queues): aiotq purge QUEUE; {'word ' * 20}end; {command}"
    shown = text(screen(an_overview(findings=(a_finding(hint=hint),)), TERMINAL, place="here")).splitlines()
    at = shown.index("    give it more:")
    assert shown[at + 1 : at + 3] == [f"      {command}", "    or make room (aiotq queues): aiotq purge QUEUE"]
    assert f"    {command}" in shown
    assert all(len(row) <= 80 for row in shown if "redis-cli" not in row)
