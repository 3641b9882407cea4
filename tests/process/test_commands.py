"""An operator's commands, on a real server and with real workers."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from aiotq.cli.main import COMMANDS
from tests.process.commands import aiotq, environment
from tests.process.rig import TARGET

if TYPE_CHECKING:
    from tests.process.rig import Rig

READS = ("status", "queues", "workers", "jobs", "doctor", "audit", "tail", ("top", "--once"), ("job", "a1f9c2"))
ACTS = (
    ("retry", "a1"),
    ("purge", "mail"),
    ("pause", "mail"),
    ("requeue", "--all", "--yes"),
    ("discard", "a1", "--yes"),
)
ENQUEUE = ("enqueue", "note", "--app", TARGET)
EACH: list[tuple[str, ...]] = [words if isinstance(words, tuple) else (words,) for words in (*READS, *ACTS, ENQUEUE)]


# --- a server that is away ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", EACH, ids=" ".join)
async def test_where_no_server_answers_it_is_one_line_and_exit_code_1(rig: Rig, words: tuple[str, ...]):
    said = await aiotq(rig, *words)
    assert (said.code, said.out) == (1, "")
    assert re.fullmatch(rf"error: no answer \(no such file .*\): {rig.url} \(from AIOTQ_URL\)\n", said.err)


async def test_where_no_server_answers_to_enqueue_is_no_more_patient_than_a_look(rig: Rig):
    took_s: list[float] = []
    for words in (("status",), ("status",), ENQUEUE):
        began_s = time.monotonic()
        assert (await aiotq(rig, *words)).code == 1
        took_s.append(time.monotonic() - began_s)
    assert took_s[2] < took_s[1] + 5, "a second is meant; a service goes on trying for ten"


async def test_with_json_the_reason_is_json_too(rig: Rig):
    said = await aiotq(rig, "jobs", "--json")
    assert said.code == 1
    assert said.json == {"error": f"no answer (no such file or directory): {rig.url} (from AIOTQ_URL)"}


@pytest.mark.parametrize("words", [("status",), ENQUEUE], ids=" ".join)
async def test_no_command_starts_the_built_in_server(rig: Rig, words: tuple[str, ...]):
    said = await aiotq(rig, *words, AIOTQ_URL=f"embedded://{rig.folder}/none")
    assert said.code == 1
    assert said.err.startswith("error: no built-in server runs: embedded://")
    assert not (rig.folder / "none").exists()


async def test_a_password_is_shown_nowhere(rig: Rig):
    for words in (("status",), ("jobs", "--json")):
        said = await aiotq(rig, *words, "--url", "redis://eve:S3CR3T@127.0.0.1:1/0")
        assert said.code == 1
        assert "S3CR3T" not in said.out + said.err
        assert "eve:***@" in said.err


# --- what there is --------------------------------------------------------------------------------------------------


async def test_jobs_of_all_states_are_listed_filtered_and_found_by_their_short_ids(rig: Rig):
    await rig.start_server()
    worker = await rig.worker()
    failed = await rig.tasks.gorge.delay("x")  # type: ignore[arg-type]  # it does not fit: a dead letter
    later = await rig.tasks.note.options(countdown=3600).delay()
    waits = await rig.tasks.note.options(queue="mail").delay()
    held = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    done = await aiotq(rig, *ENQUEUE, "--wait", "20", "--json")
    assert done.json["status"] == "succeeded"
    listed = (await aiotq(rig, "jobs", "--json")).json["items"]
    states = {item["id"]: item["status"] for item in listed}
    expected = {failed.id: "failed", later.id: "scheduled", waits.id: "queued", held.id: "running"}
    assert states == expected | {done.json["id"]: "succeeded"}
    for filters, only in (
        (("--state", "queued"), waits),
        (("--queue", "mail"), waits),
        (("--task", "hold"), held),
        (("--error", "SerializationError"), failed),
        (("--state", "failed", "--since", "1h"), failed),
    ):
        assert [item["id"] for item in (await aiotq(rig, "jobs", *filters, "--json")).json["items"]] == [only.id]
    assert (await aiotq(rig, "jobs", "--until", "1h")).out.startswith("no job matches")
    shown = await aiotq(rig, "jobs")
    assert shown.code == 0
    assert shown.out.splitlines()[0].split()[:4] == ["JOB", "STATE", "TASK", "QUEUE"]
    assert failed.id[-6:] in shown.out
    assert failed.id not in shown.out
    one = await aiotq(rig, "job", failed.id[-6:])
    assert one.code == 0
    assert one.out.startswith(f"gorge  {failed.id}  failed")
    assert "SerializationError" in one.out
    assert f"aiotq retry {failed.id[-6:]}" in one.err
    assert (await aiotq(rig, "job", failed.id[-6:], "--json")).json["summary"]["id"] == failed.id
    rig.open_gate()
    await rig.stop(worker)


async def test_a_long_list_comes_in_pages_and_says_how_to_go_on(rig: Rig):
    await rig.start_server()
    jobs = await rig.enqueue(5)
    first = await aiotq(rig, "jobs", "--limit", "3", "-v")
    assert len(first.out.splitlines()) == 4
    (more,) = first.err.splitlines()
    assert more.startswith("more: aiotq jobs --limit 3 --cursor ")
    rest = await aiotq(rig, *more.removeprefix("more: aiotq ").split(), "-v")
    assert rest.err == ""
    shown = [row.split()[0] for row in (first.out + rest.out).splitlines() if not row.startswith("JOB")]
    assert sorted(shown) == sorted(job.id for job in jobs)
    wrong = await aiotq(rig, "jobs", "--cursor", "nonsense")
    assert wrong.code == 2
    assert wrong.err.startswith("error: ")


async def test_queues_and_workers(rig: Rig):
    await rig.start_server()
    assert "there is no queue" in (await aiotq(rig, "queues")).out
    assert "no worker is alive" in (await aiotq(rig, "workers")).out
    worker = await rig.worker("--name", "anna", "-c", "3")
    held = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    await rig.tasks.note.options(queue="mail").delay()
    queues = {queue["name"]: queue for queue in (await aiotq(rig, "queues", "--json")).json}
    assert (queues["mail"]["waiting"], queues["mail"]["workers"]) == (1, 0)
    assert (queues["default"]["running"], queues["default"]["workers"]) == (1, 1)
    assert "no worker" in (await aiotq(rig, "queues")).out
    await rig.heartbeats_of(worker, 1)
    (anna,) = (await aiotq(rig, "workers", "--json")).json
    assert (anna["label"], anna["slots"], anna["used"]) == ("anna", 3, 1)
    assert [job["id"] for job in anna["jobs"]] == [held.id]
    assert "hold" in (await aiotq(rig, "workers")).out
    rig.open_gate()
    await rig.stop(worker)


# --- acting ---------------------------------------------------------------------------------------------------------


async def test_a_dead_letter_is_retried_then_discarded_and_both_are_in_the_audit(rig: Rig):
    await rig.start_server()
    worker = await rig.worker()
    job = await rig.tasks.gorge.delay("x")  # type: ignore[arg-type]
    await rig.all_ended([job])
    short = job.id[-6:]
    assert (await aiotq(rig, "retry", short)).out == f"retried {short}\n"
    await rig.all_ended([job])
    refused = await aiotq(rig, "discard", short)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"error: discard job {job.id}: nobody can be asked here")
    assert (await aiotq(rig, "discard", short, "--yes")).code == 0
    again = await aiotq(rig, "retry", short)
    assert again.code == 1
    entries = (await aiotq(rig, "audit", "--json")).json["items"]
    assert [entry["action"] for entry in entries][-2:] == ["discard", "retry"]
    assert all(entry["by"].endswith(" (cli)") for entry in entries)
    assert "(cli)" in (await aiotq(rig, "audit")).out
    await rig.stop(worker)


async def test_a_running_job_is_stopped_and_a_waiting_one_moved_promoted_and_purged(rig: Rig):
    await rig.start_server()
    worker = await rig.worker("-q", "default")
    running = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    said = await aiotq(rig, "cancel", "--yes", running.id[-6:])
    assert (said.code, said.out) == (0, f"asked its worker to stop {running.id[-6:]}\n")
    await rig.all_ended([running])
    later = await rig.tasks.note.options(countdown=3600).delay()
    assert (await aiotq(rig, "promote", later.id)).code == 0
    await rig.all_ended([later])
    lost = await rig.tasks.note.options(queue="mial").delay()
    assert (await aiotq(rig, "requeue", lost.id[-6:], "--to", "default")).code == 0
    await rig.all_ended([lost])
    jobs = [await rig.tasks.note.options(queue="mail").delay() for _ in range(3)]
    assert (await aiotq(rig, "purge", "mail")).code == 2
    said = await aiotq(rig, "purge", "mail", "--yes")
    assert (said.code, said.out) == (0, "cancelled 3 jobs of mail\n")
    await rig.all_ended(jobs)
    assert (await aiotq(rig, "purge", "mail")).out == "nothing waits in mail\n"
    await rig.stop(worker)


async def test_all_that_match_are_acted_on(rig: Rig):
    await rig.start_server()
    worker = await rig.worker()
    jobs = [await rig.tasks.gorge.delay("x") for _ in range(3)]  # type: ignore[arg-type]
    await rig.all_ended(jobs)
    said = await aiotq(rig, "retry", "--all", "--task", "gorge", "--yes", "--json")
    assert (said.code, said.json["done"]) == (0, 3)
    await rig.all_ended(jobs)
    said = await aiotq(rig, "discard", "--all", "--yes")
    assert (said.code, said.out) == (0, "discarded 3 jobs\n")
    assert (await aiotq(rig, "discard", "--all", "--yes")).code == 1
    await rig.stop(worker)


async def test_a_paused_queue_stands_and_a_mistyped_one_is_not_made(rig: Rig):
    await rig.start_server()
    worker = await rig.worker()
    await rig.all_ended([await rig.tasks.note.delay()])
    said = await aiotq(rig, "pause", "defualt")
    assert (said.code, said.err) == (1, "error: there is no queue 'defualt'\ndid you mean default?\n")
    assert (await aiotq(rig, "pause", "default")).out == "paused default\n"
    assert (await aiotq(rig, "pause", "default")).code == 0
    job = await rig.tasks.note.delay()
    assert "paused" in (await aiotq(rig, "queues")).out
    waits = await aiotq(rig, *ENQUEUE, "--id", "waits", "--wait", "0.2")
    assert waits.code == 1
    assert "error: job waits has waited 0.2 s, and its queue default is paused\nresume it: aiotq resume default" in (
        waits.err
    )
    assert (await aiotq(rig, "resume", "default")).code == 0
    await rig.all_ended([job])
    await rig.stop(worker)


# --- enqueuing ------------------------------------------------------------------------------------------------------


async def test_a_job_is_enqueued_by_name_with_typed_arguments_and_its_result_printed(rig: Rig):
    await rig.start_server()
    worker = await rig.worker()
    named = await aiotq(rig, "enqueue", "carry", "--app", TARGET, "--arg", "data=12345", "--id", "order-17")
    assert (named.code, named.out, named.err) == (0, "order-17\n", "")
    again = await aiotq(rig, "enqueue", "carry", "--app", TARGET, "--arg", "data=x", "--id", "order-17", "--json")
    assert again.json == {"id": "order-17", "existed": True}
    waited = await aiotq(rig, "enqueue", "carry", "--json-args", '{"data": "12345"}', "--wait", "20", AIOTQ_APP=TARGET)
    assert (waited.code, waited.out) == (0, "5\n")
    failed = await aiotq(rig, "enqueue", "stumble", "-a", "times=9", "--retries", "0", "--wait", "20", AIOTQ_APP=TARGET)
    assert failed.code == 1
    assert "ValueError: not yet" in failed.err
    assert failed.out == ""
    slow = await aiotq(rig, "enqueue", "note", "--countdown", "1h", "--wait", "0.2", AIOTQ_APP=TARGET)
    assert slow.code == 1
    wrong = await aiotq(rig, "enqueue", "nap", "--arg", "seconds=soon", AIOTQ_APP=TARGET)
    assert wrong.code == 2
    assert wrong.err.startswith("error: --arg seconds=soon does not fit nap(seconds: float) -> int\n")
    await rig.stop(worker)


def test_each_command_is_tried_here():
    tried = {words[0] for words in EACH} | {"resume", "cancel", "promote", "check", "dashboard", "metrics"}
    assert {name for name, module in COMMANDS.items() if ".operate." in module} <= tried


async def test_a_read_costs_little_more_than_what_it_is_made_of(rig: Rig):
    """Beside the libraries that it stands on: how fast the machine is, and what else it does, counts for both."""
    await rig.start_server()

    def took_s(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], cwd=rig.folder, env=environment(rig), capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    rounds = [(took_s("-m", "aiotq", "queues"), took_s("-c", "import redis.asyncio, typer")) for _ in range(3)]
    assert min(ours / theirs for ours, theirs in rounds) < 4


# --- what nobody should have to type, or to meet --------------------------------------------------------------------


HOSTILE = (
    ("job", "\x1b[2J"),
    ("job", "a" * 5_000),
    ("jobs", "--cursor", "\x00%".strip("\x00")),
    ("jobs", "--queue", "{x}"),
    ("jobs", "--task", "\udcff"),
    ("jobs", "--error", "["),
    ("retry", "'; FLUSHALL"),
    ("pause", "\u202e"),
    ("requeue", "x", "--to", "a:b"),
    ("audit", "--cursor", "[]"),
    ("enqueue", "carry", "--app", TARGET, "--arg", "data=\udcff"),
    ("enqueue", "carry", "--app", TARGET, "--json-args", "[" * 50_000),
    ("enqueue", "\x1b[2J:x"),
)


async def test_hostile_words_are_met_with_a_message_and_never_a_traceback(rig: Rig):
    await rig.start_server()
    for words in HOSTILE:
        said = await aiotq(rig, *words)
        assert said.code in {0, 1, 2}, said.err
        assert "Traceback" not in said.err, words
        assert "\x1b" not in said.out + said.err


async def test_a_record_of_a_newer_version_is_shown_raw_and_left_alone(rig: Rig):
    await rig.start_server()
    (job,) = await rig.enqueue(1)
    await rig.raw.setrange(f"{rig.prefix}job:{job.id}", 0, b"9")
    listed = await aiotq(rig, "jobs")
    assert job.id[-6:] in listed.out
    shown = await aiotq(rig, "job", job.id)
    assert (shown.code, "newer version" in shown.out) == (0, True)
    said = await aiotq(rig, "cancel", "--yes", job.id)
    assert said.code == 1
    assert "is of version 9" in said.out
    assert "Traceback" not in said.err


async def test_what_a_module_prints_as_it_is_imported_is_not_on_stdout(rig: Rig):
    await rig.start_server()
    (rig.folder / "chatty.py").write_text("from aiotq import App\napp = App()\nprint('hello')\n", "utf-8")
    said = await aiotq(rig, "queues", "--json", "--app", "chatty:app")
    assert said.json == []
    assert said.err == "hello\n"


async def test_check_names_what_would_fail_and_is_for_ci(rig: Rig):
    await rig.start_server()
    assert (await aiotq(rig, "check", TARGET)).code == 0
    (rig.folder / "newer.py").write_text(
        "from aiotq import App\napp = App()\n@app.task(name='note')\nasync def note(more: int): ...\n", "utf-8"
    )
    await rig.enqueue(2)
    await rig.tasks.nap.delay(1)
    said = await aiotq(rig, "check", "newer:app")
    assert said.code == 1
    assert said.out.startswith("3 of 3 waiting jobs would fail with this code\n")
    assert "of note: missing a required argument: 'more'" in said.out
    assert (await aiotq(rig, "check", AIOTQ_APP=TARGET)).code == 0
    assert (await aiotq(rig, "check", "newer:app", "--json")).json["looked"] == 3
