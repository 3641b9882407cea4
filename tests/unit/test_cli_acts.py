"""Commands that act on jobs: what is asked, what is said, with which exit code."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from aiotq.inspection.hand import TOLD
from aiotq.inspection.values import Bulk, Came, JobFilter
from aiotq.job import JobStatus
from tests.unit.acting import CLOSED, GONE, A, B, Terminal, acts, inspector, run
from tests.unit.overviews import a_worker

__all__ = ["inspector", "run"]  # fixtures


@pytest.mark.parametrize(("verb", "done"), [("retry", "retried"), ("promote", "promoted"), ("requeue", "requeued")])
def test_a_job_is_found_by_its_short_id_and_acted_on_without_asking(run, inspector, verb, done):
    assert run(verb, "a1f9c2") == (0, f"{done} a1f9c2\n", "")
    assert acts(inspector) == [(verb, A, None)]


def test_requeue_takes_another_queue(run, inspector):
    assert run("requeue", A, "--to", "mail")[0] == 0
    assert acts(inspector) == [("requeue", A, "mail")]


def test_a_queue_to_go_to_that_none_can_be_named_is_refused_before_anything_is_asked(run, inspector):
    for words in ((A,), (A, "--new"), ("--all",), ("--all", "--new", "--yes"), ("--new",)):
        code, _, err = run("requeue", *words, "--to", "a b", typed="y\n")
        assert (code, err.splitlines()[0]) == (2, "error: --to='a b' is no name of a queue")
    assert not inspector.did


@pytest.mark.parametrize(("name", "said"), [("mial", "did you mean mail?"), ("urgent", "there are: mail, empty")])
def test_a_queue_to_go_to_is_not_made_by_a_slip_of_the_hand(run, inspector, name, said):
    for words in ((A,), (A, "--yes"), ("--all", "--yes")):
        code, _, err = run("requeue", *words, "--to", name)
        assert (code, err) == (1, f"error: there is no queue {name!r}\n{said}\nto a new one: --new\n")
    assert not acts(inspector)
    assert run("requeue", A, "--to", name, "--new")[0] == 0
    assert acts(inspector) == [("requeue", A, name)]


def test_only_what_moves_jobs_takes_a_queue_to_go_to(run):
    assert run("retry", A, "--to", "mail")[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--queue", "mial"), "there is no queue 'mial'; did you mean mail?\n"),
        (("--queue", "nosuch"), "there is no queue 'nosuch'; there are: mail, empty\n"),
        (("--task", "send_mial"), "no job of a task 'send_mial' was found; did you mean send_mail?\n"),
        (("--task", "send_mail"), ""),
        (("--task", "a\nb"), "no job of a task 'a\\nb' was found\n"),
        (("--queue", "mail", "--task", "xyz"), "no job of a task 'xyz' was found\n"),
    ],
)
def test_a_list_that_is_empty_for_a_slip_of_the_hand_says_so(run, inspector, words, said):
    assert run("jobs", *words) == (0, "no job matches\n", said)
    code, out, err = run("jobs", *words, "--json")
    assert (code, json.loads(out)["items"], err) == (0, [], said)
    inspector.numbers = dict.fromkeys(JobStatus, 0)
    code, _, err = run("cancel", "--all", *words)
    assert (code, err.partition("\n")[2]) == (1, said)


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
    inspector.came = Came(done=False, what="it is running on \x1b[2Janna; cancel it, or let it end")
    said = "a1f9c2: not requeued: it is running on \\x1b[2Janna; cancel it, or let it end\n"
    assert run("requeue", "a1f9c2") == (1, said, "")
    code, out, _ = run("requeue", "a1f9c2", "--json")
    assert code == 1
    assert json.loads(out) == [{"id": A, "done": False, "came_to": inspector.came.what}]


@pytest.mark.parametrize("words", [("retry",), ("cancel", "--yes"), ("promote",), ("requeue",)])
def test_what_is_so_already_is_done_and_says_so(run, inspector, words):
    inspector.came = Came(done=True, what="so already")
    assert run(*words, "a1f9c2") == (0, "a1f9c2: so already\n", "")


def test_a_job_that_runs_is_not_said_to_be_cancelled(run, inspector):
    inspector.came = TOLD
    code, out, err = run("cancel", "a1f9c2", "--yes")
    assert (code, out) == (0, "asked its worker to stop a1f9c2\n")
    first, second, third, fourth = err.splitlines()
    assert first == "whether it has ended: aiotq job a1f9c2 --url redis://nowhere"
    assert "next await" in second
    assert "its worker anna" in third
    assert fourth == "on host: kill -TERM 7"
    code, out, _ = run("cancel", "a1f9c2", "--yes", "--json")
    assert (code, json.loads(out)) == (0, [{"id": A, "done": True, "came_to": "its worker was told"}])


def test_of_a_worker_that_stands_still_it_says_so(run, inspector):
    inspector.came, inspector.serving = TOLD, (a_worker(label="anna", state="blocked", blocked_s=75.0),)
    _, _, err = run("cancel", "a1f9c2", "--yes")
    assert "Its worker anna has stood still for 1 m 15 s and does not hear of it." in err
    assert err.endswith("\non host: kill -KILL 7\n")
    inspector.serving = (a_worker(label="anna", pid=1, host="shop-7f"),)
    assert "restart the container shop-7f" in run("cancel", "a1f9c2", "--yes")[2]


def test_of_many_it_is_told_how_many_run(run, inspector):
    inspector.bulk = Bulk(done=25, skipped=0, looked=25, told=2)
    code, out, err = run("cancel", "--all", typed="y\n")
    assert code == 0
    assert err.startswith("cancel 25 jobs, 2 of them running: their workers are asked to stop them? [y/N] ")
    assert out == "cancelled 23 jobs, asked workers to stop 2 jobs\n"
    assert json.loads(run("cancel", "--all", "--yes", "--json")[1])["told"] == 2


def test_of_scheduled_ones_it_is_asked_before_they_are_due(run):
    _, _, err = run("requeue", "--all", typed="y\n")
    assert err == "requeue 23 jobs, 3 of them scheduled: due at once then? [y/N] "
    _, _, err = run("requeue", "--all", "--state", "queued", typed="y\n")
    assert err == "requeue 20 jobs (--state queued)? [y/N] "


def test_a_job_that_is_not_there_says_where_was_looked(run):
    for name in ("nosuch", GONE):
        code, out, err = run("retry", name)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: there is no job {name!r}\nlooked among ")


def test_nobody_is_asked_about_a_job_that_there_is_not(run):
    code, _, err = run("discard", GONE, typed="y\n")
    assert (code, err.splitlines()[0]) == (1, f"error: there is no job {GONE!r}")


def test_a_short_id_that_leads_nowhere_keeps_all_from_being_done_and_a_whole_one_is_told_by_itself(run, inspector):
    assert run("retry", "a1f9c2", "nosuch")[0] == 1
    assert not acts(inspector)
    code, out, _ = run("retry", GONE, "a1f9c2")
    assert (code, out) == (1, "c1f9c2: not retried: there is no such job\nretried a1f9c2\n")
    assert acts(inspector) == [("retry", A, None)]


@pytest.mark.parametrize(
    "words",
    [
        ("discard", "a1f9c2"),
        ("cancel", "a1f9c2"),
        ("cancel", "--all"),
        ("requeue", "--all"),
        ("retry", "--all"),
        ("purge", "mail"),
    ],
)
def test_what_destroys_asks_and_without_a_terminal_needs_yes(run, inspector, words):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert "nobody can be asked here" in err
    verb, *given = words
    assert err.endswith(f"\nif it is meant: aiotq {verb} --yes {' '.join(given)} --url redis://nowhere\n")
    assert not acts(inspector)
    code, _, err = run(*words, typed="n\n")
    assert code == 1
    assert "? [y/N] " in err
    assert "nothing was done" in err
    assert not acts(inspector)
    assert run(*words, typed="y\n")[0] == 0
    assert run(*words, "--yes")[0] == 0
    assert len(acts(inspector)) == 2


def test_the_yes_that_a_hint_adds_is_no_id(run, inspector):
    inspector.known = {"--all": ("--all",), "--yes": ("--yes",)}
    _, _, err = run("discard", "--", "--all")
    again = shlex.split(err.rpartition("if it is meant: ")[2])
    assert run(*again[1:-4], *again[-2:])[0] == 0
    assert acts(inspector) == [("discard", "--all", None)]


def test_what_was_confirmed_is_acted_on_though_its_name_means_another_job_by_now(run, inspector):
    class Answers(Terminal):
        def readline(self, *_):
            inspector.known = {"mail-7": ("other-mail-7",)}
            return "y\n"

    inspector.known = {"mail-7": ("mail-7",)}
    assert run("discard", "mail-7", typed=Answers())[0] == 0
    assert acts(inspector) == [("discard", "mail-7", None)]


def test_where_stdin_is_closed_nobody_can_be_asked(run, inspector):
    code, _, err = run("cancel", "--all", typed=CLOSED)
    assert code == 2
    assert "nobody can be asked here" in err
    assert not acts(inspector)


def test_end_of_input_is_no_yes(run, inspector):
    assert run("discard", "a1f9c2", typed="")[0] == 1
    assert not acts(inspector)


@pytest.mark.parametrize(
    ("verb", "status"),
    [("retry", JobStatus.FAILED), ("discard", JobStatus.FAILED), ("promote", JobStatus.SCHEDULED)],
)
def test_all_that_match_are_counted_and_acted_on(run, inspector, verb, status):
    code, out, err = run(verb, "--all", "--queue", "mail", "--task", "send", typed="y\n")
    assert code == 0
    which = JobFilter(status=status, queue="mail", task="send")
    assert inspector.did == [("count", which), (f"{verb}_all", which, None)]
    assert err == f"{verb} {inspector.numbers[status]} jobs (--state {status} --queue mail --task send)? [y/N] "
    assert " 40 jobs; 1 had moved on" in out


@pytest.mark.parametrize(("verb", "number"), [("cancel", 25), ("requeue", 23)])
def test_what_an_act_can_not_be_for_is_not_counted(run, inspector, verb, number):
    assert f"{verb} {number} jobs" in run(verb, "--all", "--queue", "mail", typed="y\n")[2]
    assert acts(inspector) == [(f"{verb}_all", JobFilter(queue="mail"), None)]


def test_a_state_that_the_act_can_not_have_is_a_mistake(run):
    code, _, err = run("retry", "--all", "--state", "queued")
    assert code == 2
    assert err == "error: --state queued: no such job can be retried\nit has to be failed\n"


def test_a_time_is_said_as_it_was_given(run):
    code, _, err = run("retry", "--all", "--since", "1h", "--until", "30m", typed="n\n")
    assert code == 1
    assert "retry 41 jobs (--state failed --since 1h --until 30m)?" in err


def test_none_that_match_is_exit_code_1(run, inspector):
    inspector.numbers[JobStatus.FAILED] = 0
    code, out, err = run("retry", "--all", "--task", "x", "--json")
    assert (code, json.loads(out)) == (1, {"done": 0, "skipped": 0, "looked": 0, "told": 0})
    assert "no failed job matches (--state failed --task x): nothing retried" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("retry",), "no job was named"),
        (("retry", "x", "--all"), "ids and --all exclude each other"),
        (("cancel", "x", "--queue", "q"), "--queue goes with --all, and jobs were named"),
        (("requeue", "--to", "nosuch"), "no job was named"),
        (("requeue", "--all", "--state", "succeeded", "--to", "nosuch"), "no such job can be requeued"),
        (("jobs", "--since", "1h", "--until", "2h"), "nothing is between them"),
        (("cancel", "--all", "--since", "1h", "--until", "2h"), "nothing is between them"),
        (("purge",), "no queue was named"),
        (("pause", "a b"), "QUEUE='a b' is no name of a queue"),
        (("job",), "no job was named"),
        (("check",), "no app was named"),
        (("enqueue",), "no task was named"),
        (("top",), "a live screen needs a terminal"),
        (("jobs", "--since", "x"), "'x' is no time, as in 10m"),
        (("jobs", "--since", "\u0661h"), "'\u0661h' is no time, as in 10m"),
        (("job", "\udcff"), "ID='\\xff' is no id of a job"),
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


@pytest.mark.parametrize(
    "words",
    [
        *[("retry",), ("retry", "x", "--all"), ("cancel", "--all"), ("pause",), ("job",), ("check",), ("enqueue",)],
        *[("enqueue", "greet"), ("discard", A), ("jobs", "--nosuch"), ("completion",), ("server",)],
    ],
)
def test_a_command_that_is_named_stands_alone_to_be_pasted(run, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    _, _, err = run(*words)
    named = [line for line in err.splitlines()[1:] if "aiotq" in line]
    assert named
    for line in named:
        assert re.fullmatch(r"[^:]+: (aiotq|python -m aiotq) [\w. :/=-]+", line), line
