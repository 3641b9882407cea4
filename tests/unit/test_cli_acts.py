"""Commands that change something: what is asked, what is said, with which exit code."""

from __future__ import annotations

import io
import json
import sys

import pytest

from aiotq.cli import main as command_line
from aiotq.cli.operate import reach
from aiotq.errors import JobNotFound
from aiotq.inspection.values import Bulk, JobFilter, Page, TaskInfo
from aiotq.job import JobStatus
from tests.unit.overviews import a_queue

GONE = "0" * 26 + "c1f9c2"
A, B = "0" * 26 + "a1f9c2", "0" * 26 + "b1f9c2"


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Inspector:
    """What an inspector does, noted down."""

    def __init__(self):
        self.did, self.number, self.answer, self.known = [], 41, True, {"a1f9c2": (A,), "1f9c2": (A, B)}

    def acting(self, by):
        return self

    async def find(self, text):
        return self.known.get(text, ())

    async def count(self, which):
        self.did.append(("count", which))
        return self.number

    async def jobs(self, which, **_more):
        return Page(items=(), cursor=None, looked=0)

    async def tasks(self):
        return (
            TaskInfo(name="shop:send_mail", succeeded=1, failed=0, retried=0, cancelled=0, mean_s=None, known=None),
        )

    async def queues(self):
        return (a_queue(name="mail", waiting=3), a_queue(name="empty"))

    def __getattr__(self, name):
        async def act(*words, **more):
            if words == (GONE,):
                raise JobNotFound(job_id=GONE)
            self.did.append((name, *words, *more.values()))
            return (
                Bulk(done=40, skipped=1, looked=41) if name.endswith("_all") else 3 if name == "purge" else self.answer
            )

        return act


@pytest.fixture
def inspector(monkeypatch):
    made = Inspector()

    async def within(_app, work):
        return await work(made)

    monkeypatch.setattr(reach, "_within", within)
    return made


@pytest.fixture
def run(inspector, monkeypatch, capsys):
    """Runs a command line; the exit code, stdout and stderr."""

    def run(*words, typed=None):
        monkeypatch.setattr(sys, "argv", ["aiotq", *words, "--url", "redis://nowhere"])
        monkeypatch.setattr(sys, "stdin", io.StringIO() if typed is None else Terminal(typed))
        code = command_line.main()
        return code, *capsys.readouterr()

    return run


def acts(inspector):
    return [did for did in inspector.did if did[0] != "count"]


@pytest.mark.parametrize(
    ("verb", "done"), [("retry", "retried"), ("cancel", "cancelled"), ("promote", "promoted"), ("requeue", "requeued")]
)
def test_a_job_is_found_by_its_short_id_and_acted_on_without_asking(run, inspector, verb, done):
    assert run(verb, "a1f9c2") == (0, f"{done} a1f9c2\n", "")
    assert acts(inspector)[0][:2] == (verb, A)


def test_requeue_takes_another_queue(run, inspector):
    assert run("requeue", A, "--to", "mail")[0] == 0
    assert acts(inspector) == [("requeue", A, "mail")]
    assert run("requeue", A, "--to", "a b")[0] == 2


def test_a_mistyped_queue_to_go_to_is_met_with_the_one_that_was_meant(run, inspector):
    code, _, err = run("requeue", A, "--to", "mial")
    assert (code, err) == (2, "error: there is no queue 'mial'\ndid you mean mail? --yes makes a new one\n")
    assert not acts(inspector)
    assert run("requeue", A, "--to", "mial", "--yes")[0] == 0
    assert run("requeue", A, "--to", "urgent")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--queue", "mial"), "there is no queue 'mial'; did you mean mail?\n"),
        (("--task", "send_mial"), "no task is named 'send_mial'; did you mean send_mail?\n"),
        (("--task", "send_mail"), ""),
        (("--queue", "mail", "--task", "xyz"), ""),
    ],
)
def test_a_list_that_is_empty_for_a_slip_of_the_hand_says_so(run, words, said):
    assert run("jobs", *words) == (0, "no job matches\n", said)


def test_several_at_once_and_each_once(run, inspector):
    code, out, _ = run("retry", "a1f9c2", A, B, "--json")
    assert code == 0
    assert [one["id"] for one in json.loads(out)] == [A, B]
    assert len(acts(inspector)) == 2


def test_an_id_that_names_several_jobs_is_refused_and_nothing_is_done(run, inspector):
    code, out, err = run("cancel", "a1f9c2", "1f9c2")
    assert (code, out) == (1, "")
    assert err == f"error: 2 jobs are named by '1f9c2'\nname more of the id:\n  {A}\n  {B}\n"
    assert not acts(inspector)


def test_nothing_done_is_exit_code_1_and_why(run, inspector):
    inspector.answer = False
    assert run("retry", "a1f9c2") == (1, "a1f9c2: not retried: it has not failed\n", "")
    code, out, _ = run("cancel", "a1f9c2", "--json")
    assert code == 1
    assert json.loads(out) == [{"id": A, "done": False, "why": "it has ended"}]


def test_a_job_that_is_not_there_says_where_was_looked(run):
    for name in ("nosuch", GONE):
        code, out, err = run("retry", name)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: there is no job {name!r}\nlooked among ")


def test_a_short_id_that_leads_nowhere_keeps_all_from_being_done_and_a_whole_one_is_told_by_itself(run, inspector):
    assert run("retry", "a1f9c2", "nosuch")[0] == 1
    assert not acts(inspector)
    code, out, _ = run("retry", GONE, "a1f9c2")
    assert (code, out) == (1, "c1f9c2: not retried: there is no such job\nretried a1f9c2\n")


@pytest.mark.parametrize(
    "words", [("discard", "a1f9c2"), ("cancel", "--all"), ("requeue", "--all"), ("retry", "--all"), ("purge", "mail")]
)
def test_what_destroys_asks_and_without_a_terminal_needs_yes(run, inspector, words):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert "nobody can be asked here" in err
    assert "--yes" in err
    assert not acts(inspector)
    code, _, err = run(*words, typed="n\n")
    assert code == 1
    assert "? [y/N] " in err
    assert "nothing was done" in err
    assert not acts(inspector)
    assert run(*words, typed="y\n")[0] == 0
    assert run(*words, "--yes")[0] == 0
    assert len(acts(inspector)) == 2


def test_end_of_input_is_no_yes(run, inspector):
    assert run("discard", "a1f9c2", typed="")[0] == 1
    assert not acts(inspector)


@pytest.mark.parametrize(
    ("verb", "status"),
    [("retry", JobStatus.FAILED), ("discard", JobStatus.FAILED), ("promote", JobStatus.SCHEDULED), ("cancel", None)],
)
def test_all_that_match_are_counted_and_acted_on(run, inspector, verb, status):
    code, out, err = run(verb, "--all", "--queue", "mail", "--task", "send", typed="y\n")
    assert code == 0
    which = JobFilter(status=status, queue="mail", task="send")
    assert inspector.did == [("count", which), (f"{verb}_all", which)]
    assert err.startswith(f"{verb} 41 jobs (")
    assert "--queue mail --task send)? [y/N]" in err
    assert " 40 jobs, 1 left as they were" in out


def test_a_state_that_the_act_can_not_have_is_a_mistake(run):
    code, _, err = run("retry", "--all", "--state", "queued")
    assert code == 2
    assert err.startswith("error: --state queued can't be retried: it has not failed")


def test_none_that_match_is_exit_code_1(run, inspector):
    inspector.number = 0
    code, out, err = run("retry", "--all", "--task", "x", "--json")
    assert (code, json.loads(out)) == (1, {"done": 0, "skipped": 0, "looked": 0})
    assert "no job matches (--state failed --task x): nothing retried" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("retry",), "no job was named"),
        (("retry", "x", "--all"), "ids and --all exclude each other"),
        (("cancel", "x", "--queue", "q"), "filters go with --all, and jobs were named"),
        (("purge",), "no queue was named"),
        (("pause", "a b"), "QUEUE='a b' is no name of a queue"),
        (("job",), "no job was named"),
        (("check",), "no app was named"),
        (("enqueue",), "no task was named"),
        (("top",), "a live screen needs a terminal"),
        (("jobs", "--since", "x"), "'x' is no time, as in 10m"),
        (("jobs", "--state", "x"), "'x' is not one of scheduled, queued"),
        (("jobs", "--limit", "0"), "'0' is no number of rows"),
        (("top", "--every", "0"), "'0' is no time to wait"),
        (("audit", "x"), "unexpected extra argument"),
    ],
)
def test_what_is_used_wrongly_is_exit_code_2(run, words, said):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("error: ")


# --- queues ---------------------------------------------------------------------------------------------------------


def test_purge_counts_first(run, inspector):
    code, out, err = run("purge", "mail", typed="y\n")
    assert code == 0
    assert err == "cancel 3 jobs waiting in mail? [y/N] "
    assert out == "cancelled 3 jobs of mail\n"
    code, out, _ = run("purge", "mail", "--yes", "--json")
    assert (code, json.loads(out)) == (0, {"queue": "mail", "purged": 3})


def test_an_empty_queue_is_not_purged(run, inspector):
    assert run("purge", "empty", "--yes") == (1, "", "nothing waits in empty\n")
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
    assert run("pause", "mail") == (1, "mail is paused already\n", "")
    code, out, _ = run("resume", "mail", "--json")
    assert (code, json.loads(out)) == (1, {"queue": "mail", "resumed": False})
