"""`aiotq jobs`, `job`, `queues`, `workers`, `doctor`, `check` and `audit`: what they say."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from aiotq.cli.look import plain
from aiotq.cli.operate import audit, check, doctor, job, jobs, queues, workers
from aiotq.cli.operate.choice import chosen, words
from aiotq.cli.operate.moments import Moment
from aiotq.cli.operate.reach import Where, as_json
from aiotq.cli.operate.table import cells
from aiotq.errors import Frame, UsageError
from aiotq.inspection.values import (
    AuditEntry,
    Check,
    Fit,
    JobFilter,
    LogLine,
    Misfit,
    Page,
    Progress,
    Severity,
    TimelineEntry,
)
from aiotq.job import ErrorInfo, JobInfo, JobStatus
from tests.unit.acting import inspector, run
from tests.unit.overviews import (
    NARROW,
    NOW,
    PIPE,
    TERMINAL,
    VERBOSE,
    a_detail,
    a_queue,
    a_running,
    a_summary,
    a_worker,
    ago,
    an_overview,
    text,
)

__all__ = ["inspector", "run"]  # fixtures

HOSTILE = "\x1b[2J<script>\n\u202e\ud800"
ANY = JobFilter()


def a_page(*items, cursor=None, looked=3):
    return Page(items=items, cursor=cursor, looked=looked)


def an_info(**given: Any) -> JobInfo:
    facts: dict[str, Any] = {"id": "x", "task": "t", "queue": "q", "priority": 5, "status": JobStatus.FAILED}
    facts |= {
        "reason": "error",
        "arguments": {},
        "result": None,
        "error": None,
        "attempt": 1,
        "attempts": (),
        "lost": 0,
    }
    facts |= {"enqueued_at": NOW, "due_at": None, "started_at": None, "finished_at": None, "worker": None}
    return JobInfo(**facts | given)


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_job_is_a_line_with_its_short_id():
    said = text(jobs.lines(a_page(a_summary()), TERMINAL, NOW, which=ANY)).splitlines()
    assert said == [
        "JOB     STATE      TASK       QUEUE  ATTEMPT     WHEN  TOOK",
        "a1f9c2  succeeded  send_mail  mail         1  8 s ago   2 s",
    ]


def test_verbose_has_whole_ids_and_names():
    said = text(jobs.lines(a_page(a_summary()), VERBOSE, NOW, which=ANY))
    assert "0" * 26 + "a1f9c2  succeeded  shop.tasks:send_mail" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"status": JobStatus.SCHEDULED, "due_at": ago(-90)}, "in 1 m 30 s"),
        ({"status": JobStatus.QUEUED, "enqueued_at": ago(600)}, "10 m ago"),
        ({"status": JobStatus.RUNNING, "started_at": ago(60)}, "1 m ago   1 m"),
        ({"status": JobStatus.CANCELLED, "reason": "expired", "finished_at": None}, "expired"),
        ({"status": JobStatus.FAILED, "error": "ValueError: no Bobs", "reason": "error"}, "ValueError: no Bobs"),
        ({"readable": False, "task": ""}, "aiotq job shows it raw"),
    ],
)
def test_each_state_says_what_matters(given, said):
    assert said in text(jobs.lines(a_page(a_summary(**given)), PIPE, NOW, which=ANY))


@pytest.mark.parametrize("sheet", [TERMINAL, PIPE])
def test_a_long_error_is_cut_and_takes_no_other_column_away(sheet):
    failed = a_summary(status=JobStatus.FAILED, reason="error", error="ConnectionError: " + "x" * 180)
    head, row = text(jobs.lines(a_page(failed), sheet, NOW, which=ANY)).splitlines()
    assert head.split() == ["JOB", "STATE", "TASK", "QUEUE", "ATTEMPT", "WHEN", "TOOK", "ERROR"]
    assert "ConnectionE" in row
    assert cells(row) <= 130


def test_no_job_is_said_in_words():
    assert "there is no job" in text(jobs.lines(a_page(looked=0), PIPE, NOW, which=ANY))
    which = JobFilter(queue="mail")
    assert text(jobs.lines(a_page(looked=40), PIPE, NOW, which=which)) == "no job matches (40 looked at)"
    assert "there are more" in text(jobs.lines(a_page(cursor="c"), PIPE, NOW, which=which))


def test_the_next_page_is_asked_for_with_the_same_filters():
    since = Moment(before=timedelta(hours=1))
    which = chosen(status=JobStatus.FAILED, queue="mail", task="send mail", error="a b", since=since)
    again = jobs.again(which, limit=20)
    assert again[:8] == ["--state", "failed", "--queue", "mail", "--task", "send mail", "--error", "a b"]
    assert again[8] == "--since"
    assert again[-2:] == ["--limit", "20"]
    assert jobs.again(ANY, limit=jobs.LIMIT) == []
    assert words(ANY) == []


def test_a_queue_that_can_be_none_is_refused():
    with pytest.raises(UsageError):
        chosen(queue="a b")


# --- one job --------------------------------------------------------------------------------------------------------


def test_a_jobs_page_has_all_that_is_known():
    error = ErrorInfo(type="ValueError", message="no Bobs")
    detail = a_detail(
        summary=a_summary(status=JobStatus.FAILED, lost=2),
        info=an_info(error=error),
        arguments='{\n  "to": "ada"\n}',
        arguments_cut=True,
        timeline=(
            TimelineEntry(at=ago(20), what="enqueued"),
            TimelineEntry(at=None, what="attempt 1 failed", took_s=5.0),
        ),
        logs=(LogLine(at=ago(9), level="warning", text="two\nrows", attempt=1),),
        progress=Progress(done=3, of=10, note="rows", at=ago(4)),
        frames=(Frame("a.py", 3, "greet", "raise ValueError"),),
        expires_s=600.0,
    )
    said = text(job.lines(detail, TERMINAL, NOW))
    assert said.startswith(f"shop.tasks:send_mail  {'0' * 26}a1f9c2  failed\n")
    for part in (
        "queue      mail, priority 5",
        "attempt    1, 2 workers vanished with it",
        "progress   3 of 10 (30 %), rows, 4 s ago",
        "kept for   10 m",
        '    "to": "ada"',
        "(cut: --json has all of it, in a record of ",
        "attempt 1 failed",
        "  ValueError: no Bobs\n    a.py:3 in greet\n      raise ValueError",
        "warning: two\n    rows",
    ):
        assert part in said


def test_long_arguments_are_cut_and_verbose_has_them_all():
    detail = a_detail(info=an_info(), arguments="\n".join(map(str, range(100))))
    assert "(80 more lines: -v shows them)" in text(job.lines(detail, PIPE, NOW))
    assert "\n  99" in text(job.lines(detail, VERBOSE, NOW))


def test_of_large_arguments_and_results_little_is_shown_and_where_the_whole_is():
    detail = a_detail(
        summary=a_summary(size=1 << 20), info=an_info(), arguments="x" * 60_000, arguments_cut=True, result="y" * 3_000
    )
    said = text(job.lines(detail, PIPE, NOW))
    assert (said.count("x" * 2_048), said.count("y" * 2_048)) == (1, 1)
    assert len(said) < 5_000
    assert said.count("(cut: -v shows more, --json has all of it, in a record of 1 MiB)") == 2
    said = text(job.lines(detail, VERBOSE, NOW))
    assert said.count("x" * 60_000) == said.count("y" * 3_000) == 1
    assert said.count("(cut: --json has all of it, in a record of 1 MiB)") == 1


def test_a_long_row_goes_on_below_and_nothing_of_it_is_lost():
    detail = a_detail(info=an_info(), arguments="x" * 500)
    said = [plain(line) for line in job.lines(detail, TERMINAL, NOW)]
    assert all(cells(row) <= 80 for row in said)
    assert "".join(said).count("x") == 500


def test_a_record_that_cannot_be_read_is_shown_raw():
    said = text(job.lines(a_detail(summary=a_summary(readable=False), raw=b"9w\xff\x1b{}"), PIPE, NOW))
    assert "its record is of a newer version, or broken" in said
    assert "9w\\xff\\x1b{}" in said.replace("\\\\", "\\")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"status": JobStatus.SCHEDULED}, ["discard"]),
        ({"status": JobStatus.QUEUED}, ["discard"]),
        ({"status": JobStatus.RUNNING}, []),
        ({"status": JobStatus.QUEUED, "placed": False}, []),
        ({"status": JobStatus.QUEUED, "placed": None}, []),
        ({"status": JobStatus.QUEUED, "enqueued_at": None}, []),
        ({"status": JobStatus.FAILED}, ["discard"]),
    ],
)
def test_of_a_record_that_cannot_be_read_no_more_is_advised_than_works(given: dict[str, Any], said: list[str]):
    advised = job.advice(a_summary(readable=False, **given), Where())
    assert [line.rpartition("aiotq ")[2] for line in advised] == [f"{verb} a1f9c2" for verb in said]


def test_a_record_without_a_ticket_is_said_to_be_in_no_queue():
    seen = a_summary(readable=False, placed=False, status=JobStatus.QUEUED)
    said = text(job.lines(a_detail(summary=seen, raw=b"9w{}"), PIPE, NOW))
    assert "queued" not in said
    assert "no worker will take it" in said


def test_a_job_that_was_not_found_is_not_said_to_be_in_no_queue_but_where_it_was_looked_for():
    seen = a_summary(readable=False, placed=None, status=JobStatus.QUEUED)
    found = a_detail(summary=seen, raw=b"9w{}", searched="the lines of 3 queues")
    said = text(job.lines(found, PIPE, NOW))
    assert "queued" not in said
    assert "no queue" not in said
    assert "no worker" not in said
    assert "no ticket of it was found in the lines of 3 queues" in said
    told = json.loads(as_json(found))
    assert (told["summary"]["placed"], told["searched"]) == (None, "the lines of 3 queues")


def test_a_result_and_many_log_lines():
    logs = tuple(LogLine(at=ago(n), level="info", text=f"line {n}", attempt=1) for n in range(50))
    said = text(job.lines(a_detail(info=an_info(), result='"sent"', logs=logs), PIPE, NOW))
    assert 'result\n  "sent"' in said
    assert "(the last 20 of 50: -v shows all)" in said


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (JobStatus.FAILED, ["run it again: aiotq retry a1f9c2", "throw it away: aiotq discard a1f9c2"]),
        (JobStatus.RUNNING, ["stop it: aiotq cancel a1f9c2"]),
        (JobStatus.SCHEDULED, ["run it now: aiotq promote a1f9c2", "never run it: aiotq cancel a1f9c2"]),
        (JobStatus.SUCCEEDED, []),
    ],
)
def test_it_says_what_can_be_done_in_lines_that_can_be_pasted(status, said):
    assert job.advice(a_summary(status=status), Where()) == said


def test_a_command_that_is_pasted_asks_the_same_place():
    where = Where(url="redis://me:secret@h/0", namespace="a b", target="shop:app")
    assert where.command("job", "x'y") == (
        """aiotq job 'x'"'"'y' --url redis://me:***@h/0 --namespace 'a b' --app shop:app"""
    )


@pytest.mark.parametrize("sheet", [TERMINAL, NARROW, PIPE, VERBOSE])
def test_what_others_wrote_is_harmless_everywhere(sheet):
    summary = a_summary(id=HOSTILE, task=HOSTILE, queue=HOSTILE, worker=HOSTILE, error=HOSTILE, reason=HOSTILE)
    detail = a_detail(
        summary=summary,
        info=an_info(error=ErrorInfo(type=HOSTILE, message=HOSTILE, frames=(Frame(HOSTILE, 1, HOSTILE, HOSTILE),))),
        arguments=HOSTILE,
        result=HOSTILE,
        timeline=(TimelineEntry(at=None, what=HOSTILE, worker=HOSTILE, error=HOSTILE),),
        logs=(LogLine(at=NOW, level=HOSTILE, text=HOSTILE, attempt=1),),
        progress=Progress(done=1, of=0, note=HOSTILE, at=NOW),
    )
    misfit = Misfit(id=HOSTILE, task=HOSTILE, queue=HOSTILE, status=JobStatus.QUEUED, why=HOSTILE)
    shown = [
        *job.lines(detail, sheet, NOW),
        *jobs.lines(a_page(summary), sheet, NOW, which=ANY),
        *queues.lines([a_queue(name=HOSTILE, by_priority={5: 1})], sheet),
        *workers.lines([a_worker(label=HOSTILE, jobs=(a_running(id=HOSTILE, task=HOSTILE, queue=HOSTILE),))], sheet),
        *doctor.lines([Check(severity=Severity.WARNING, name=HOSTILE, what=HOSTILE, fix=HOSTILE)], sheet),
        *check.lines(Fit(looked=1, misfits=[misfit], more=0), sheet),
        *audit.lines([AuditEntry(at=NOW, by=HOSTILE, action=HOSTILE, subject=HOSTILE, came_to=HOSTILE)], sheet, NOW),
    ]
    for line in shown:
        assert plain(line).isprintable() or not plain(line)


# --- the others -----------------------------------------------------------------------------------------------------


def test_none_are_said_in_words():
    assert "there is no queue" in text(queues.lines((), PIPE))
    assert "no worker is alive" in text(workers.lines((), PIPE))
    assert text(audit.lines((), PIPE, NOW)) == "nobody has done anything here yet"
    assert "no job waits" in text(check.lines(Fit(looked=0, misfits=(), more=0), PIPE))
    assert text(check.lines(Fit(looked=3, misfits=(), more=0), PIPE)) == "all would run with this code: 3 waiting jobs"


def test_verbose_queues_have_their_priorities():
    said = text(queues.lines([a_queue(waiting=3, by_priority={0: 1, 5: 2})], VERBOSE))
    assert "mail: by priority (0 first): 1 at 0, 2 at 5" in said


def test_workers_show_what_they_run():
    said = text(workers.lines([a_worker(used=7, jobs=tuple(a_running(attempt=n) for n in range(1, 7)))], PIPE))
    assert said.count("a1f9c2") == workers.MOST_JOBS
    assert "and 2 more" in said


@pytest.mark.parametrize("options", [(), ("--json",), ("-v",)])
@pytest.mark.parametrize(
    ("severities", "code"),
    [
        ((), 0),
        ((Severity.OK,), 0),
        ((Severity.OK, Severity.NOTE, Severity.WARNING), 0),
        ((Severity.CRITICAL,), 1),
        ((Severity.OK, Severity.CRITICAL, Severity.WARNING), 1),
    ],
)
def test_doctor_is_exit_code_1_if_a_finding_is_critical(run, inspector, severities, code, options):
    inspector.checks = tuple(Check(severity=one, name=one.value, what="so it is", fix="") for one in severities)
    assert run("doctor", *options)[0] == code


def test_doctor_has_the_worst_first_each_with_its_mending_whole():
    fix = "redis-cli CONFIG SET maxmemory-policy noeviction" + " x" * 60
    checks = [
        Check(severity=Severity.OK, name="version", what="Valkey 9.1.2", fix=None),
        Check(severity=Severity.WARNING, name="clients", what="many", fix=None),
        Check(severity=Severity.CRITICAL, name="maxmemory-policy", what="allkeys-lru", fix=fix),
    ]
    said = text(doctor.lines(checks, TERMINAL)).splitlines()
    assert said[:2] == ["✖ maxmemory-policy: allkeys-lru", f"    {fix}"]
    assert said[2:] == ["! clients: many", "✔ well: version"]
    assert "ok       version: Valkey 9.1.2" in text(doctor.lines(checks, VERBOSE))


def test_check_groups_what_would_fail():
    def misfit(number, why="unknown task"):
        return Misfit(id=f"{number:032x}", task="shop:send", queue="mail", status=JobStatus.QUEUED, why=why)

    misfits = [misfit(0, "missing a required argument: 'name'"), *map(misfit, range(1, 8))]
    said = text(check.lines(Fit(looked=40, misfits=misfits, more=3), PIPE)).splitlines()
    assert said[0] == "11 of 40 waiting jobs would fail with this code"
    assert said[1] == "  7 of shop:send: unknown task"
    assert said[2] == "    in mail: 000001, 000002, 000003, 000004, 000005 and 2 more"
    assert said[3] == "  1 of shop:send: missing a required argument: 'name'"
    assert said[-1] == "  and 3 more that are not listed"


def test_json_is_ascii_whatever_there_is_in_it():
    plain_json = as_json(an_overview(queues=(a_queue(name=HOSTILE + "ä", by_priority={5: 1}),)))
    assert plain_json.isascii()
    assert "\n" not in plain_json
    told = json.loads(plain_json)
    assert told["at"] == "2026-01-31T12:00:00Z"
    assert told["queues"][0]["name"] == HOSTILE + "ä"
    assert told["queues"][0]["by_priority"] == {"5": 1}
    assert json.loads(as_json(a_detail(raw=b"\xff")))["raw"] == "/w=="
