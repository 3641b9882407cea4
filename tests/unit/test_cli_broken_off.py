"""A server that goes away in the middle of an act: what is said of what was done by then."""

from __future__ import annotations

import json

import pytest

from aiotq.errors import StoreRefused, StoreUnavailable
from aiotq.inspection.hand import DONE
from tests.unit.acting import GONE, A, B, inspector, run

__all__ = ["inspector", "run"]  # fixtures
AUDIT = "doing it again is safe\nwhat was done: aiotq audit --url redis://nowhere\n"


def away(*notes, sent=True):
    error = StoreUnavailable("no answer", verb="replace", url="redis://nowhere", sent=sent)
    for note in notes:
        error.add_note(note)
    return error


@pytest.mark.parametrize(("words", "act"), [(("cancel", "--all"), "act_on_all"), (("purge", "mail"), "purge")])
def test_an_act_on_many_says_how_many_were_done_and_where_that_is_told(run, inspector, words, act):
    async def broken(*_, **__):
        raise away("3,200 jobs had been done before")

    setattr(inspector, act, broken)
    code, out, err = run(*words, "--yes")
    first, _, below = err.partition("\n")
    assert (code, out) == (1, "")
    assert first.startswith("error: no answer (no answer): redis://nowhere")
    assert below == f"3,200 jobs had been done before\n{AUDIT}"
    code, out, _ = run(*words, "--yes", "--json")
    said = json.loads(out)
    assert code == 1
    assert said["notes"][0] == "3,200 jobs had been done before"
    assert "aiotq audit" in said["notes"][1]


@pytest.mark.parametrize(
    ("error", "below"), [(away(), f"it may have been done: no answer came\n{AUDIT}"), (away(sent=False), "")]
)
def test_of_one_job_it_is_said_whether_it_may_have_been_done(run, inspector, error, below):
    async def broken(*_, **__):
        raise error

    inspector.act = inspector.pause = broken
    for words in (("retry", A), ("pause", "mail")):
        code, _, err = run(*words)
        assert (code, err.partition("\n")[2]) == (1, below)


@pytest.mark.parametrize(
    ("error", "came_to"),
    [
        (away(), "it may have been done: no answer came"),
        (away(sent=False), "not tried"),
        (StoreRefused("no", verb="replace", url="", code="LOADING"), "not tried"),
    ],
)
def test_of_several_ids_each_says_what_became_of_it(run, inspector, error, came_to):
    async def act(_act, job_id, **_):
        if job_id == B:
            raise error
        return DONE

    inspector.act = act
    code, out, err = run("retry", A, B, GONE)
    assert (code, out) == (1, f"retried a1f9c2\nb1f9c2: {came_to}\nc1f9c2: not tried\n")
    assert err.endswith("\ndoing it again is safe: aiotq retry b1f9c2 c1f9c2 --url redis://nowhere\n")
    code, out, _ = run("retry", A, B, GONE, "--json")
    assert code == 1
    assert [(one["id"], one["done"], one["came_to"]) for one in json.loads(out)] == [
        (A, True, "done"),
        (B, False, came_to),
        (GONE, False, "not tried"),
    ]


def test_what_only_looks_does_not_speak_of_an_act(run, inspector):
    async def broken():
        raise away()

    inspector.queues = broken
    assert "may have been done" not in run("queues")[2]


@pytest.mark.parametrize("to", [("--to", "mail"), ("--to", "reports", "--new")])
def test_the_rest_goes_to_the_same_queue(run, inspector, to):
    async def act(_act, job_id, **_):
        if job_id == B:
            raise away()
        return DONE

    inspector.act = act
    _, _, err = run("requeue", A, B, *to)
    again = err.splitlines()[-1].split()
    assert again[again.index("--to") :][: len(to)] == list(to)
    assert "b1f9c2" in again
