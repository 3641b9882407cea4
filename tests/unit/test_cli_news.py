"""`aiotq tail`: what is new between two looks, and how it is told."""

from __future__ import annotations

import pytest

from aiotq.cli.lines import Layout
from aiotq.cli.look import Look
from aiotq.cli.operate import reach, tail
from aiotq.cli.operate.news import News, happened
from aiotq.cli.operate.tail import MOST, in_sight, lines_of, overflowed, wanted
from aiotq.inspection.values import JobFilter, Page
from aiotq.job import JobStatus
from aiotq.source import Source
from tests.unit.overviews import a_queue, a_summary, ago, text

SCHEDULED, QUEUED, RUNNING, FAILED = JobStatus.SCHEDULED, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FAILED


def told(news, *jobs):
    return [one.what for one in news.look(jobs)]


def test_the_first_look_tells_nothing_and_the_same_again_neither():
    news = News()
    assert told(news, a_summary()) == []
    assert told(news, a_summary()) == []


def test_a_job_that_comes_runs_and_ends_is_told_step_by_step():
    news = News()
    told(news)
    queued = a_summary(status=QUEUED, started_at=None, finished_at=None)
    running = a_summary(status=RUNNING, finished_at=None)
    assert told(news, queued) == ["enqueued"]
    assert told(news, running) == ["started"]
    assert told(news, a_summary()) == ["succeeded"]
    assert told(news, a_summary()) == []


def test_a_job_that_was_too_fast_to_be_seen_is_told_whole_and_in_order():
    news = News()
    told(news)
    assert told(news, a_summary()) == ["enqueued", "started", "succeeded"]


def test_a_retry_is_told_once_an_attempt():
    news = News()
    told(news)
    first = a_summary(status=SCHEDULED, attempt=1, error="ValueError: no", due_at=ago(-5))
    again = a_summary(status=SCHEDULED, attempt=2, error="ValueError: no", due_at=ago(-9), finished_at=ago(1))
    assert told(news, first) == ["enqueued", "retried"]
    assert told(news, first) == []
    assert told(news, again) == ["retried"]


def test_an_attempt_that_nobody_saw_fail_is_told_of_by_the_next_one():
    news = News()
    told(news)
    assert told(news, a_summary(attempt=3)) == ["enqueued", "retried", "retried", "started", "succeeded"]
    job = a_summary(attempt=2, error="ValueError: of the second", status=FAILED)
    unseen = next(one for one in happened(job) if one.what == "retried")
    layout = Layout(look=Look(terminal=True, symbols=True), clock_width=12)
    assert text(lines_of(unseen, layout)).endswith("attempt 1 failed")


def test_an_old_end_that_comes_into_sight_is_not_told_as_new():
    news = News()
    told(news, a_summary(id="new", finished_at=ago(5)))
    assert told(news, a_summary(id="old", enqueued_at=ago(99), started_at=ago(98), finished_at=ago(97))) == []
    assert told(news, a_summary(id="now", enqueued_at=ago(2), started_at=ago(1), finished_at=ago(0))) != []


def test_what_is_running_without_a_known_start_is_told_once():
    news = News()
    told(news)
    running = a_summary(status=RUNNING, started_at=None, finished_at=None, enqueued_at=None)
    assert told(news, running) == ["started"]
    assert told(news, a_summary(status=RUNNING, finished_at=None, enqueued_at=None)) == []


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("aiotq.cli.operate.news.REMEMBERED", 10)
    news = News()
    for number in range(50):
        news.look([a_summary(id=str(number))])
    assert len(news.known) == 10


@pytest.mark.parametrize(
    ("which", "events"),
    [
        (JobFilter(), ["enqueued", "started", "failed"]),
        (JobFilter(status=FAILED), ["failed"]),
        (JobFilter(status=RUNNING), ["started"]),
        (JobFilter(task="send_mail"), ["enqueued", "started", "failed"]),
        (JobFilter(task="mail"), []),
        (JobFilter(queue="other"), []),
    ],
)
def test_filters_choose_what_is_told(which, events):
    assert [one.what for one in happened(a_summary(status=FAILED)) if wanted(one, which)] == events


def test_it_looks_as_a_workers_console_does():
    layout = Layout(
        look=Look(terminal=True, symbols=True),
        width=100,
        clock_width=12,
        tasks={"shop.tasks:send_mail": "send_mail"},
        task_width=9,
    )
    job = a_summary(status=FAILED, error="ValueError: no Bobs")
    rows = [text(lines_of(one, layout))[14:] for one in happened(job)]
    assert rows == [
        "+ send_mail  a1f9c2  in mail",
        "▶ send_mail  a1f9c2  waited 10 s",
        "☠ send_mail  a1f9c2  ValueError: no Bobs  gave up after 1 attempt",
    ]


def test_more_than_is_looked_at_is_said_where_a_full_page_is_all_news():
    news = News()
    told(news)
    full = [a_summary(id=f"{number:032x}") for number in range(MOST)]
    pages = [full, [], [], []]
    new = news.look(in_sight(pages))
    assert overflowed(pages, new)
    assert not overflowed([full[1:], [], [], []], new)  # there was room for more
    assert not overflowed(pages, news.look(in_sight(pages)))  # nothing of it is new


@pytest.mark.parametrize(("queue", "said"), [("mial", "there is no queue 'mial'; did you mean mail?\n"), ("mail", "")])
async def test_a_tail_of_a_queue_that_there_is_not_says_so(monkeypatch, capsys, queue, said):
    class Over(Exception):
        pass

    class Inspector:
        def acting(self, by):
            return self

        async def queues(self):
            return (a_queue(name="mail"), a_queue(name="empty"))

        async def ended(self, *, limit):
            return ()

        async def jobs(self, which, **_more):
            return Page(items=(), cursor=None, looked=0)

    class Core:
        async def enter(self, **_given):
            return None

        async def leave(self):
            return None

    class App:
        inspect, _core = Inspector(), Core()

    async def over(_seconds):
        raise Over

    monkeypatch.setattr(tail.asyncio, "sleep", over)
    source = Source(url="redis://nowhere", origin="--url")
    with pytest.raises(Over):
        await tail._follow(reach.Where(), App(), source, JobFilter(queue=queue), every_s=1)  # type: ignore[arg-type]
    assert capsys.readouterr().err == f"watching {source}; Ctrl-C ends\n{said}"
