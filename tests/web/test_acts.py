"""What a person does from a page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.inspection.arrivals import Moment
from aiotq.inspection.hand import TOLD
from aiotq.inspection.values import Bulk, Came, JobFilter
from aiotq.job import JobStatus
from aiotq.web import acts
from tests.web import sample
from tests.web.visitor import post

if TYPE_CHECKING:
    import httpx

OTHER = "0199ab12cd347ef089abcdef01ffffff"


@pytest.mark.parametrize(
    ("order", "asked"),
    [
        ({"verb": "retry"}, ("retry", sample.JOB)),
        ({"verb": "promote"}, ("promote", sample.JOB)),
        ({"verb": "requeue"}, ("requeue", sample.JOB, None)),
        ({"verb": "requeue", "to": "default"}, ("requeue", sample.JOB, "default")),
        ({"verb": "requeue", "to": "slow", "new": "yes"}, ("requeue", sample.JOB, "slow")),
        ({"verb": "cancel", "confirmed": "yes"}, ("cancel", sample.JOB)),
        ({"verb": "discard", "confirmed": "yes"}, ("discard", sample.JOB)),
    ],
)
async def test_an_act_on_a_job_is_done_and_told(
    client: httpx.AsyncClient, inspector: Any, order: Any, asked: Any
) -> None:
    acted = await post(client, "/act", {**order, "job": sample.JOB, "next": f"/jobs/{sample.JOB}"})
    assert (acted.status_code, acted.headers["location"]) == (303, f"/jobs/{sample.JOB}")
    assert asked in inspector.asked
    assert inspector.by == "127.0.0.1 (dashboard)"
    after = await client.get(f"/jobs/{sample.JOB}")
    assert "Job a1f9c2 was " in after.text
    assert "Job a1f9c2 was " not in (await client.get("/jobs")).text  # it is told once


@pytest.mark.parametrize(
    ("verb", "came", "said"),
    [
        ("cancel", TOLD, "The worker of job a1f9c2 was asked to stop it."),
        ("cancel", Came(done=True, what="cancelled already"), "Job a1f9c2: cancelled already."),
        ("retry", Came(done=False, what="it has not failed"), "Job a1f9c2 was not retried: it has not failed."),
    ],
)
async def test_what_came_of_an_act_is_told_as_it_is(
    client: httpx.AsyncClient, inspector: Any, verb: str, came: Came, said: str
) -> None:
    inspector.came = came
    await post(client, "/act", {"verb": verb, "job": sample.JOB, "confirmed": "yes"})
    assert said in (await client.get("/jobs")).text


async def test_of_many_jobs_it_is_told_how_many_run(client: httpx.AsyncClient, inspector: Any) -> None:
    inspector.came = TOLD
    two = [("verb", "cancel"), ("job", sample.JOB), ("job", OTHER), ("confirmed", "yes")]
    await post(client, "/act", two)
    assert "Workers were asked to stop 2 jobs." in (await client.get("/jobs")).text
    inspector.bulk = Bulk(done=40, skipped=1, looked=41, told=1)
    await post(client, "/act", {"verb": "cancel", "scope": "all", "confirmed": "yes"})
    said = "39 jobs were cancelled; workers were asked to stop 1 job; 1 had moved on, or are held by a worker."
    assert said in (await client.get("/jobs")).text


@pytest.mark.parametrize(
    ("order", "question"),
    [
        ({"verb": "cancel", "job": sample.JOB}, "Cancel the job a1f9c2?"),
        ({"verb": "discard", "job": sample.JOB}, "Discard the job a1f9c2?"),
        ({"verb": "purge", "queue": "mail"}, "Purge the queue mail: cancel the 1,204 jobs that wait in it?"),
        ([("verb", "retry"), ("job", sample.JOB), ("job", OTHER)], "Retry 2 jobs?"),
        ({"verb": "retry", "scope": "all", "status": "failed"}, "Retry 7 jobs?"),
        ({"verb": "retry", "scope": "all"}, "Retry 7 jobs?"),
        ({"verb": "cancel", "scope": "all"}, "Cancel 43 jobs?"),
        ({"verb": "promote", "scope": "all"}, "Promote 30 jobs?"),
        ({"verb": "discard", "scope": "all", "task": "send"}, "Discard 7 jobs?"),
        ({"verb": "discard", "scope": "all", "status": "succeeded"}, "Discard 500 jobs?"),
        ({"verb": "requeue", "scope": "all", "to": "default"}, "Requeue 41 jobs to the queue default?"),
        ({"verb": "requeue", "scope": "all", "to": "slow"}, "Requeue 41 jobs to the new queue slow?"),
        ({"verb": "requeue", "job": sample.JOB, "to": "slow"}, "Requeue the job a1f9c2 to the new queue slow?"),
    ],
)
async def test_what_cannot_be_undone_or_is_many_is_asked_about_first(
    client: httpx.AsyncClient, inspector: Any, order: Any, question: str
) -> None:
    asked = await post(client, "/act", order)
    assert asked.status_code == 200
    assert question in asked.text
    assert {what[0] for what in inspector.asked} <= {"jobs", "job", "overview", "queues", "count"}


async def test_a_queue_that_there_is_not_is_made_only_once_that_was_confirmed(
    client: httpx.AsyncClient, inspector: Any
) -> None:
    order = {"verb": "requeue", "job": sample.JOB, "to": "defualt", "confirmed": "yes"}
    asked = await post(client, "/act", order)
    assert asked.status_code == 200
    assert "there is no queue &#39;defualt&#39;: did you mean default?" in asked.text
    assert "requeue" not in {what[0] for what in inspector.asked}
    assert 'name="new" value="yes"' in asked.text
    assert (await post(client, "/act", {**order, "new": "yes"})).status_code == 303
    assert ("requeue", sample.JOB, "defualt") in inspector.asked


@pytest.mark.parametrize("verb", ["pause", "resume", "purge"])
async def test_a_queue_that_there_is_not_is_neither_held_nor_emptied(
    client: httpx.AsyncClient, inspector: Any, verb: str
) -> None:
    acted = await post(client, "/act", {"verb": verb, "queue": "mial", "confirmed": "yes", "new": "yes"})
    assert acted.status_code == 404
    assert "there is no queue &#39;mial&#39;" in acted.text
    assert "did you mean mail?" in acted.text
    assert verb not in {what[0] for what in inspector.asked}


async def test_nobody_is_asked_about_a_job_that_there_is_not(client: httpx.AsyncClient) -> None:
    assert (await post(client, "/act", {"verb": "cancel", "job": "none"})).status_code == 404


@pytest.mark.parametrize(("verb", "status"), [("retry", "succeeded"), ("cancel", "failed"), ("discard", "queued")])
async def test_all_of_a_state_that_an_act_is_not_for_are_refused(
    client: httpx.AsyncClient, inspector: Any, verb: str, status: str
) -> None:
    for more in ({}, {"confirmed": "yes"}):
        refused = await post(client, "/act", {"verb": verb, "scope": "all", "status": status, **more})
        assert refused.status_code == 400
        assert f"status={status}: no such job can be {acts.JOB_VERBS[verb]}" in refused.text
    assert {what[0] for what in inspector.asked} <= {"jobs", "overview"}


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ({"verb": "discard"}, "No filter was given: these are all that have the state failed."),
        ({"verb": "requeue"}, "No filter was given: these are all that have the state queued or scheduled."),
        ({"verb": "discard", "task": "send"}, "Those of the state failed that match: <code>task=send</code>"),
        ({"verb": "discard", "status": "failed"}, "Those that match: <code>status=failed</code>"),
    ],
)
async def test_of_all_that_match_it_is_said_which_are_meant(client: httpx.AsyncClient, order: Any, told: str) -> None:
    assert told in (await post(client, "/act", {**order, "scope": "all"})).text


async def test_what_may_take_long_says_so_and_where_its_end_is_told(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = {"verb": "retry", "scope": "all", "status": "failed"}
    assert "This may take minutes" not in (await post(client, "/act", order)).text
    monkeypatch.setattr(acts, "LONG", 6)
    asked = await post(client, "/act", order)
    assert "This may take minutes" in asked.text
    assert 'the <a href="/audit">audit</a> says at its end what it came to' in asked.text


async def test_what_cannot_be_counted_in_time_is_asked_about_all_the_same(
    client: httpx.AsyncClient, inspector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless(_which: JobFilter) -> int:
        return await asyncio.Event().wait()

    monkeypatch.setattr(acts, "COUNTED_S", 0.01)
    monkeypatch.setattr(inspector, "count", endless)
    asked = await post(client, "/act", {"verb": "discard", "scope": "all", "task": "send"})
    assert "Discard all jobs that match?" in asked.text
    assert "more than could be counted" in asked.text
    assert "Yes, discard them all</button>" in asked.text
    assert "disabled" not in asked.text


async def test_all_that_match_are_those_that_were_confirmed(client: httpx.AsyncClient, inspector: Any) -> None:
    order = {"verb": "retry", "scope": "all", "status": "failed", "task": "send", "since": "2h", "next": "/jobs?x=1"}
    asked = await post(client, "/act", order)
    since = asked.text.split('name="since" value="')[1].split('"')[0]
    assert since.startswith("20")  # no longer "2h", which would be another time by then
    acted = await post(client, "/act", {**order, "since": since, "confirmed": "yes"})
    assert acted.headers["location"] == "/jobs?x=1"
    (which,) = [what[2] for what in inspector.asked if what[0] == "act_on_all"]
    assert which.status is JobStatus.FAILED
    assert which == JobFilter(status=JobStatus.FAILED, task="send", since=which.since)
    assert "40 jobs were retried; 1 had moved on" in (await client.get("/jobs")).text


COUNTED = Moment(at=sample.NOW, queue="mail", ends=("mail:5:AAAA:a", "mail:s:AAAA:b"))


@pytest.mark.parametrize(
    ("order", "done"),
    [
        (
            {"verb": "cancel", "scope": "all", "queue": "mail"},
            ("act_on_all", "cancel", JobFilter(queue="mail"), None, COUNTED),
        ),
        (
            {"verb": "discard", "scope": "all", "queue": "mail"},
            ("act_on_all", "discard", JobFilter(status=JobStatus.FAILED, queue="mail"), None, COUNTED),
        ),
        ({"verb": "purge", "queue": "mail"}, ("purge", "mail", COUNTED)),
    ],
)
async def test_what_came_after_they_were_counted_was_not_confirmed(
    client: httpx.AsyncClient, inspector: Any, order: Any, done: Any
) -> None:
    asked = await post(client, "/act", order)
    as_of = asked.text.split('name="as_of" value="')[1].split('"')[0]

    await post(client, "/act", {**order, "as_of": as_of, "confirmed": "yes"})

    assert done in inspector.asked
    for wrong in ("x", f"{as_of} x", f"{as_of} ", "x mail:5:AAAA:a"):
        assert (await post(client, "/act", {**order, "as_of": wrong, "confirmed": "yes"})).status_code == 400


async def test_a_queue_is_paused_resumed_and_purged(client: httpx.AsyncClient, inspector: Any) -> None:
    for verb, told in (("pause", "was paused"), ("resume", "was resumed"), ("purge", "1,204 jobs were cancelled")):
        order = {"verb": verb, "queue": "mail", "next": "/queues/mail", "confirmed": "yes"}
        assert (await post(client, "/act", order)).status_code == 303
        assert (verb, "mail", *[None] * (verb == "purge")) in inspector.asked
        assert told in (await client.get("/queues/mail")).text


async def test_what_was_done_is_seen_at_once(client: httpx.AsyncClient, inspector: Any) -> None:
    await client.get("/queues/mail")
    await post(client, "/act", {"verb": "pause", "queue": "mail"}, page="/queues/mail")
    asked = len(inspector.asked)
    await client.get("/queues/mail")
    assert ("overview",) in inspector.asked[asked:]


@pytest.mark.parametrize("next_", ["//evil.example", "https://evil.example", "evil", "/\\evil"])
async def test_an_act_leads_back_into_the_dashboard(client: httpx.AsyncClient, next_: str) -> None:
    acted = await post(client, "/act", {"verb": "pause", "queue": "mail", "next": next_})
    assert acted.headers["location"] == "/"
    asked = await post(client, "/act", {"verb": "purge", "queue": "mail", "next": next_})
    assert "evil" not in asked.text


async def test_a_store_that_goes_away_in_the_middle_is_said(client: httpx.AsyncClient, inspector: Any) -> None:
    await client.get("/jobs")

    async def broken(*_given: Any, **_named: Any) -> Any:
        inspector.away = True
        inspector._note("retry")

    inspector.act = broken
    acted = await post(client, "/act", {"verb": "retry", "job": sample.JOB})
    assert acted.status_code == 503
    assert "no answer from redis" in acted.text
    assert "may have been done" in acted.text
    assert "data-reload-when-back" not in acted.text  # it would be posted again
