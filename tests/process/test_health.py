"""`--health-port` and `aiotq health`, with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys

import pytest

from tests.probing import Answer, Probe
from tests.process.rig import Rig
from tests.processes import PATH, WorkerProcess, die_with_parent

PORT = ("--health-port", "0")
IMPATIENT = "tests.process.tasks:impatient"


async def probe_of(worker: WorkerProcess) -> Probe:
    """The health port of a worker that works."""
    return Probe.of((await worker.line("ready"))["health"])


def free_port() -> int:
    """One that nobody listened at just now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


async def ask(rig: Rig, *options: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run `aiotq health`: its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiotq", "health", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=rig.folder,
        env={**os.environ, "PYTHONPATH": PATH, **(env or {})},
        preexec_fn=die_with_parent,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode().strip()


# --- one worker ---------------------------------------------------------------------------------------------------


async def test_it_is_live_and_ready_while_it_works_and_unready_while_it_stops(rig: Rig):
    await rig.start_server()
    worker = await rig.worker(*PORT, ready=False)
    probe = await probe_of(worker)
    assert probe.host == "127.0.0.1"
    await probe.until(200, "ok")
    assert await probe.get("livez") == Answer(status=200, text="ok")
    await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    worker.send_signal(signal.SIGTERM)
    await probe.until(503, "stopping")
    assert await probe.get("livez") == Answer(status=200, text="ok")
    rig.open_gate()
    assert await worker.exit() == 0
    with pytest.raises(OSError):
        await probe.get()


async def test_before_there_is_a_server_it_is_live_and_afterwards_ready_by_itself(rig: Rig):
    number = free_port()
    worker = await rig.worker("--health-port", str(number), ready=False)
    await worker.line("store_down")
    probe = Probe(host="127.0.0.1", port=number)
    assert await probe.get() == Answer(status=503, text="the store is away")
    assert await probe.get("livez") == Answer(status=200, text="ok")
    await rig.start_server()
    await worker.line("ready")
    await probe.until(200, "ok")
    await rig.stop(worker)


@pytest.mark.parametrize("task", ["bar", "spin"])
async def test_it_answers_at_once_while_a_task_blocks_the_loop(rig: Rig, task: str):
    await rig.start_server()
    worker = await rig.worker(*PORT, ready=False)
    probe = await probe_of(worker)
    await probe.until(200, "ok")
    job = await (rig.tasks.bar.delay() if task == "bar" else rig.tasks.spin.delay(30))
    await rig.ledger.until(1)
    for _ in range(20):
        assert await probe.get("livez") == Answer(status=200, text="ok")
    assert not rig.ledger.ends(job)  # all that was answered meanwhile
    rig.open_gate()
    await job.result(timeout=20)
    await rig.stop(worker)


async def test_a_port_that_is_taken_is_one_clear_line_and_exit_code_1(rig: Rig):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        for more in ((), ("--processes", "2")):
            worker = await rig.worker("--health-port", str(number), "--log-format", "text", *more, ready=False)
            assert await worker.exit() == 1
            assert worker.output == [
                f"error: --health-port {number}: can't listen at 127.0.0.1 (address already in use)",
                "a free port of this machine was expected; name another one, or end what listens there",
            ]
            worker = await rig.worker("--health-port", str(number), *more, ready=False)
            assert await worker.exit() == 1
            (line,) = worker.output
            assert json.loads(line)["event"] == "gave_up"


async def test_no_password_and_no_name_of_a_job_is_told(rig: Rig):
    await rig.start_server()
    secret = "S3CR3T-canary"
    await rig.raw.execute_command("ACL", "SETUSER", "eve", "on", f">{secret}", "~*", "&*", "+@all")
    url = rig.url.replace("unix://", f"unix://eve:{secret}@")
    worker = await rig.worker(*PORT, ready=False, url=url)
    probe = await probe_of(worker)
    await probe.until(200, "ok")
    await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    said = [await probe.get("livez"), await probe.get()]
    await rig.kill_server()
    await worker.line("store_down")
    said += [await probe.get("livez"), await probe.get()]
    assert {answer.text for answer in said} == {"ok", "the store is away"}
    assert secret not in worker.text
    code, told = await ask(rig, "--url", url)
    assert code == 1
    assert secret not in told


# --- several processes --------------------------------------------------------------------------------------------


async def test_a_supervisor_is_ready_once_all_of_its_processes_are_and_names_the_one_that_is_not(rig: Rig):
    await rig.start_server()
    number = free_port()
    supervisor = await rig.worker("--processes", "2", "--health-port", str(number), ready=False)
    pids = [(await supervisor.line("ready"))["pid"] for _ in range(2)]
    probe = Probe(host="127.0.0.1", port=number)
    await probe.until(200, "ok")
    assert await probe.get("livez") == Answer(status=200, text="ok")
    os.kill(pids[1], signal.SIGSTOP)
    reasons = {f"process {seat}: it has said nothing for more than 6 s" for seat in (1, 2)}
    answers: set[Answer] = set()

    async def unready() -> None:
        while (answer := await probe.get()).status == 200:
            pass
        answers.add(answer)

    async with asyncio.timeout(20):
        await unready()
    assert {answer.text for answer in answers} <= reasons
    assert await probe.get("livez") == Answer(status=200, text="ok")
    os.kill(pids[1], signal.SIGCONT)
    await probe.until(200, "ok")
    os.kill(pids[0], signal.SIGKILL)
    await supervisor.line("died")
    async with asyncio.timeout(20):
        await unready()
    await supervisor.line("ready")
    await probe.until(200, "ok")
    await rig.stop(supervisor)


async def test_a_supervisors_reason_is_that_of_a_process(rig: Rig):
    await rig.start_server(*("--appendonly", "yes"))
    number = free_port()
    supervisor = await rig.worker("--processes", "2", "--health-port", str(number), ready=False)
    for _ in range(2):
        await supervisor.line("ready")
    probe = Probe(host="127.0.0.1", port=number)
    await probe.until(200, "ok")
    await rig.kill_server()
    await probe.until(503, "process 1: the store is away (and 1 more)")
    await rig.start_server(*("--appendonly", "yes"))
    await probe.until(200, "ok")
    await rig.stop(supervisor)


async def test_recycling_does_not_make_a_supervisor_unready(rig: Rig):
    await rig.start_server()
    number = free_port()
    supervisor = await rig.worker("--max-jobs", "3", "--health-port", str(number), ready=False)
    await supervisor.line("ready")
    probe = Probe(host="127.0.0.1", port=number)
    await probe.until(200, "ok")
    jobs = await rig.enqueue(3)
    recycled = asyncio.create_task(supervisor.line("ready"))
    while not recycled.done():
        assert await probe.get() == Answer(status=200, text="ok")
    await rig.all_ended(jobs)
    await probe.until(200, "ok")
    await rig.stop(supervisor)


async def test_a_supervisor_whose_only_process_is_blocked_for_too_long_lives_no_longer(rig: Rig):
    await rig.start_server()
    number = free_port()
    supervisor = await rig.worker("--processes", "1", "--health-port", str(number), ready=False, target=IMPATIENT)
    pid = (await supervisor.line("ready"))["pid"]
    probe = Probe(host="127.0.0.1", port=number)
    await probe.until(200, "ok")
    await rig.tasks.block.delay(60)
    reason = "no process can do its work: the event loop has been blocked for longer than 1 s (max_block)"
    await probe.until(503, reason, page="livez")
    supervisor.send_signal(signal.SIGTERM)
    os.kill(pid, signal.SIGKILL)
    await supervisor.exit()


# --- the command ----------------------------------------------------------------------------------------------------


async def test_the_command_asks_a_worker(rig: Rig):
    await rig.start_server()
    number = free_port()
    asked = ("--health-port", str(number))
    code, said = await ask(rig, *asked)
    assert (code, said) == (1, f"not live: no worker answers at 127.0.0.1:{number} (connection refused)")
    worker = await rig.worker(*asked)
    await Probe(host="127.0.0.1", port=number).until(200, "ok")
    assert await ask(rig, *asked) == (0, "ready")
    assert await ask(rig, *asked, "--live") == (0, "live")
    code, said = await ask(rig, "--json", env={"AIOTQ_HEALTH_PORT": str(number), "AIOTQ_HEALTH_HOST": "0.0.0.0"})
    assert (code, json.loads(said)) == (0, {"healthy": True, "live": True, "ready": True, "reason": None})
    await rig.kill_server()
    await worker.line("store_down")
    assert await ask(rig, *asked) == (1, "not ready: the store is away")
    assert await ask(rig, *asked, "--live") == (0, "live")
    code, said = await ask(rig, *asked, "--json")
    wanted = {"healthy": False, "live": True, "ready": False, "reason": "the store is away"}
    assert (code, json.loads(said)) == (1, wanted)


async def test_the_command_asks_the_server_for_workers_and_for_queues_that_nobody_serves(rig: Rig):
    where = ("--url", rig.url, "--namespace", rig.namespace)
    code, said = await ask(rig, *where)
    assert code == 1
    assert said.startswith("no answer (no such file or directory): unix://")
    await rig.start_server()
    code, said = await ask(rig, *where)
    assert (code, said.splitlines()[1:]) == (1, ["no worker is alive"])
    worker = await rig.worker("-q", "default", "--name", "anna")
    code, said = await ask(rig, *where)
    assert code == 0
    assert said.splitlines()[0].startswith("the server answers in ")
    assert said.splitlines()[1:] == ["workers: anna"]
    assert (await ask(rig, *where, "-q", "default"))[0] == 0
    assert (await ask(rig, *where, "-q", "default,mail"))[1].endswith("no worker serves mail")
    await rig.tasks.note.options(queue="mail").delay()
    code, said = await ask(rig, *where, "--json")
    told = json.loads(said)
    assert code == 1
    assert told.pop("ping_ms") > 0
    assert told == {
        "healthy": False,
        "store": True,
        "full": False,
        "workers": {"anna": ["default"]},
        "queues": {"mail": {"served": False, "waiting": True}},
        "reason": "no worker serves mail",
    }
    other = await rig.worker("-q", "mail")
    await rig.all_ended([])
    assert (await ask(rig, *where))[0] == 0
    await rig.stop(worker, other)


async def test_a_worker_that_was_killed_counts_until_its_lease_ends(rig: Rig):
    await rig.start_server()
    where = ("--url", rig.url, "--namespace", rig.namespace)
    worker = await rig.worker("--lease", "1")
    assert (await ask(rig, *where))[0] == 0
    await worker.kill()

    while (await ask(rig, *where))[0] == 0:  # for a second at most
        pass
    assert (await ask(rig, *where))[1].endswith("no worker is alive")
    await rig.forget_worker(worker)


async def test_asking_starts_no_built_in_server(rig: Rig):
    code, said = await ask(rig, "--url", f"embedded://{rig.folder}/none")
    assert code == 1
    assert said.startswith("no built-in server runs: embedded://")
    assert not (rig.folder / "none").exists()


async def test_a_server_that_refuses_is_told_by_its_reason(rig: Rig):
    await rig.start_server()
    await rig.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
    code, said = await ask(rig, "--url", rig.url)
    assert code == 1
    assert "is a read-only replica" in said
