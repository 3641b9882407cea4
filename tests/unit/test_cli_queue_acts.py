"""Commands that change a queue: what is counted and asked, what is said, with which exit code."""

from __future__ import annotations

import json

import pytest

from aiotq.inspection.arrivals import Moment
from aiotq.inspection.values import Purged
from tests.unit.acting import NOW, acts, inspector, run
from tests.unit.overviews import a_queue

__all__ = ["inspector", "run"]  # fixtures


def test_purge_counts_first(run, inspector):
    code, out, err = run("purge", "mail", typed="y\n")
    assert code == 0
    assert err == "cancel 3 jobs waiting in mail? [y/N] "
    assert out == "cancelled 3 jobs of mail\n"
    assert inspector.did == [("purge", "mail", Moment(at=NOW, queue="mail"))], "what came after the count stays"
    code, out, _ = run("purge", "mail", "--yes", "--json")
    assert (code, json.loads(out)) == (0, {"queue": "mail", "purged": 3, "cleared": 0})


def test_a_purge_says_how_many_tickets_it_cleared_away(run, inspector):
    async def queues():
        return (a_queue(name="gone", waiting=7, leftovers=7), a_queue(name="mail", waiting=3))

    inspector.queues, inspector.purged = queues, Purged(ended=0, cleared=7)
    code, out, err = run("purge", "gone", typed="y\n")
    assert err == "no job waits in gone; clear 7 leftover tickets of jobs that are gone? [y/N] "
    assert (code, out) == (0, "cleared 7 leftover tickets of gone, whose jobs were gone\n")
    inspector.purged = Purged(ended=2, cleared=1)
    assert run("purge", "mail", "--yes") == (0, "cancelled 2 jobs of mail, cleared 1 leftover ticket\n", "")
    inspector.purged = Purged(ended=0, cleared=0)
    nothing = "cancelled nothing of mail: what was counted has been claimed, or is behind jobs that came since\n"
    assert run("purge", "mail", "--yes") == (0, nothing, "")


def test_an_empty_queue_is_as_a_purge_would_leave_it(run, inspector):
    assert run("purge", "empty") == (0, "nothing waits in empty\n", "")
    code, out, _ = run("purge", "empty", "--json")
    assert (code, json.loads(out)) == (0, {"queue": "empty", "purged": 0, "cleared": 0})
    assert not acts(inspector)


@pytest.mark.parametrize("verb", ["pause", "resume", "purge"])
def test_a_mistyped_queue_is_not_made_but_named(run, inspector, verb):
    code, _, err = run(verb, "mial")
    assert (code, err) == (1, "error: there is no queue 'mial'\ndid you mean mail?\n")
    assert run(verb, "reports")[2].endswith("there are: mail, empty\n")
    assert not acts(inspector)


def test_pause_and_resume_say_what_they_did(run, inspector):
    assert run("pause", "mail") == (0, "paused mail\n", "")
    assert run("resume", "mail") == (0, "resumed mail\n", "")
    inspector.answer = False
    assert run("pause", "mail") == (0, "mail is paused already\n", "")
    assert run("resume", "mail") == (0, "mail is not paused\n", "")
    code, out, _ = run("resume", "mail", "--json")
    assert (code, json.loads(out)) == (0, {"queue": "mail", "paused": False, "changed": False})
