"""`--processes`: several worker processes under one command, killed, stopped, orphaned and recycled."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.process.ledger import until
from tests.process.rig import Rig
from tests.processes import WorkerProcess

LONG = ("--lease", "60")  # whoever waited for it would not come within a test's time
MARGIN_S = 3.0  # for a machine that has other things to do


@dataclass(kw_only=True)
class Team:
    """A supervisor and the worker processes that it started first."""

    supervisor: WorkerProcess
    pids: list[int]

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one of them."""
        assert pid in self.pids
        os.kill(pid, number)


async def start(rig: Rig, *options: str, count: int = 2, own_group: bool = False) -> Team:
    """A supervisor whose processes all work."""
    supervisor = await rig.worker("--processes", str(count), *options, own_group=own_group, ready=False)
    return Team(supervisor=supervisor, pids=[await next_pid(supervisor) for _ in range(count)])


async def next_pid(supervisor: WorkerProcess) -> int:
    """The pid of the next process that works."""
    return (await supervisor.line("ready"))["pid"]


async def gone(pid: int) -> None:
    """Until a process that is no child of this one has ended."""

    async def ended() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    await until(ended, f"the end of process {pid}")


async def taken(pid: int, number: signal.Signals) -> None:
    """Until a signal waits for a process no more: one that comes while another waits is the same one to the kernel."""

    async def delivered() -> bool:
        status = Path(f"/proc/{pid}/status").read_text()
        (waiting,) = (line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:"))
        return not int(waiting, 16) >> (number - 1) & 1

    await until(delivered, f"{number.name} is taken by process {pid}")


def starts_of(rig: Rig, jobs: list[Any]) -> dict[str, int]:
    """How often each job has started."""
    counts = dict.fromkeys((job.id for job in jobs), 0)
    for entry in rig.ledger.starts():
        counts[entry.job_id] += 1
    return counts


async def test_all_processes_work_and_each_job_runs_once(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    team = await start(rig, "-c", "5")
    jobs = await rig.app.enqueue_many([rig.tasks.nap.s(0.02) for _ in range(200)])
    await rig.all_ended(jobs)
    await rig.stop(team.supervisor)
    assert {entry.pid for entry in rig.ledger.starts()} == set(team.pids)
    assert team.supervisor.pid not in team.pids
    await rig.check(jobs)


async def test_they_have_labels_of_their_own_and_their_lines_carry_them(rig: Rig):
    await rig.start_server()
    supervisor = await rig.worker("--processes", "2", "--name", "anna", ready=False)
    first, second = await supervisor.line("ready"), await supervisor.line("ready")
    assert [first["worker"], second["worker"]] == ["anna/1", "anna/2"]
    await rig.tasks.note.delay()
    assert (await supervisor.line("succeeded"))["worker"] in {"anna/1", "anna/2"}
    await rig.stop(supervisor)


async def test_what_a_killed_process_held_runs_again_at_once_and_another_takes_its_place(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    team = await start(rig, *LONG, "-c", "10")
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(20)])
    victim, other = team.pids
    await rig.ledger.until(10, pid=victim)
    await rig.ledger.until(10, pid=other)
    in_hand = rig.ledger.unended(victim)
    at_s = time.monotonic()
    team.kill(victim)
    died = await team.supervisor.line("died", pid=victim)
    assert died["code"] == -signal.SIGKILL
    await team.supervisor.line("reclaimed", pid=victim)
    successor = await next_pid(team.supervisor)
    await rig.ledger.until(10, pid=successor)
    took_s = time.monotonic() - at_s
    rig.measured(f"10 jobs of a killed process run again in its successor after {took_s:.2f} s; lease 60 s")
    assert took_s < 15  # a quarter of the lease; about 1 s where the machine has nothing else to do
    rig.open_gate()
    await rig.all_ended(jobs)
    await rig.stop(team.supervisor)
    assert starts_of(rig, jobs) == {job.id: 2 if job.id in in_hand else 1 for job in jobs}
    assert {(await job.info()).lost for job in jobs if job.id in in_hand} == {1}
    await rig.check(jobs, may_repeat=in_hand)


async def test_a_job_that_kills_each_process_is_put_aside_and_they_are_restarted_slower_each_time(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    team = await start(rig, *LONG, count=1)
    job = await rig.tasks.die.delay()
    died_s: list[float] = []
    for _ in range(4):
        await team.supervisor.line("died")
        died_s.append(time.monotonic())
    await rig.all_ended([job])
    gaps_s = [later - earlier for earlier, later in pairwise(died_s)]
    rig.measured(f"from death to death: {', '.join(f'{gap:.1f}' for gap in gaps_s)} s")
    assert gaps_s[2] > 1.0  # the third wait is drawn from 1 to 2 s, and not spun through
    await rig.stop(team.supervisor)  # it works again: what is over does not spoil the exit code
    info = await job.info()
    assert (info.status, info.lost) == ("failed", 4)
    assert starts_of(rig, [job]) == {job.id: 4}
    await rig.check([job], dead={job.id}, may_repeat={job.id})


async def test_processes_that_crash_after_they_had_enough_are_restarted_slower_each_time(rig: Rig):
    """One whose last job kills it has asked for its successor before."""
    await rig.start_server()
    await rig.watch_ends()
    supervisor = await rig.worker("--max-jobs", "1", *LONG, ready=False)
    job = await rig.tasks.die.delay()
    told = [(await supervisor.line("restarting"))["message"] for _ in range(2)]
    waits_s = [float(line.removesuffix(" s").rpartition(" ")[2]) for line in told]
    assert 0.2 <= waits_s[0] <= 0.5 <= waits_s[1] <= 1.0
    await rig.all_ended([job])
    await rig.stop(supervisor)
    await rig.check([job], dead={job.id}, may_repeat={job.id})


async def test_jobs_go_back_although_the_server_is_away_as_the_process_dies(rig: Rig):
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    await rig.start_server(*durable)
    team = await start(rig, *LONG, count=1)
    job = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    await rig.kill_server()
    await team.supervisor.line("store_down")
    team.kill(team.pids[0])
    await team.supervisor.line("died")
    await rig.start_server(*durable)
    await team.supervisor.line("reclaimed")
    rig.open_gate()
    await rig.all_ended([job])
    await rig.stop(team.supervisor)
    assert starts_of(rig, [job]) == {job.id: 2}
    await rig.check([job], may_repeat={job.id})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stopped_gently_in_mid_drain_it_loses_nothing_and_runs_nothing_twice(rig: Rig, number: signal.Signals):
    await rig.start_server()
    await rig.watch_ends()
    team = await start(rig, "-c", "20")
    jobs = await rig.app.enqueue_many([rig.tasks.nap.s(0.02) for _ in range(2_000)])
    await rig.ledger.until(200, "end")
    await rig.stop(team.supervisor, number=number)
    assert len(rig.ledger.ends()) < 2_000
    other = await rig.worker()
    await rig.all_ended(jobs)
    await rig.stop(other)
    await rig.check(jobs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_signal_to_the_whole_group_is_one_signal(rig: Rig, number: signal.Signals):
    """Ctrl-C in a terminal, or an init system that tells every process: what runs still gets its grace."""
    await rig.start_server()
    await rig.watch_ends()
    team = await start(rig, own_group=True)
    job = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    os.killpg(team.supervisor.pid, number)
    await team.supervisor.line("stopping", running=1)
    await team.supervisor.line("stopped")  # the other process
    rig.open_gate()
    assert await team.supervisor.exit() == 0
    assert starts_of(rig, [job]) == {job.id: 1}
    await rig.check([job])


@pytest.mark.parametrize("group", ["group", ""])
async def test_a_second_signal_puts_everything_back_at_once(rig: Rig, group: str):
    await rig.start_server()
    await rig.watch_ends()
    team = await start(rig, "-c", "2", own_group=bool(group))
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(4)])
    await rig.ledger.until(4)
    send = (
        (lambda: os.killpg(team.supervisor.pid, signal.SIGINT))
        if group
        else (lambda: team.supervisor.send_signal(signal.SIGINT))
    )
    send()
    for _ in range(2):
        await team.supervisor.line("stopping", running=2)
    await taken(team.supervisor.pid, signal.SIGINT)
    at_s = time.monotonic()
    send()
    assert await team.supervisor.exit() == 130
    assert time.monotonic() - at_s < 1.0 + MARGIN_S
    assert {(await job.info()).status for job in jobs} == {"queued"}
    rig.open_gate()
    other = await rig.worker()
    await rig.all_ended(jobs)
    await rig.stop(other)
    await rig.check(jobs, may_repeat={job.id for job in jobs})


async def test_a_third_signal_ends_processes_whose_event_loop_is_blocked(rig: Rig):
    await rig.start_server()
    team = await start(rig, count=1)
    await rig.tasks.block.delay(60)
    await rig.ledger.until(1)
    for _ in range(3):
        await taken(team.supervisor.pid, signal.SIGINT)
        team.supervisor.send_signal(signal.SIGINT)
    assert await team.supervisor.exit() == 130
    await gone(team.pids[0])


async def test_a_supervisor_that_is_killed_leaves_no_orphan_and_no_job_is_lost(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    team = await start(rig)
    jobs = await rig.app.enqueue_many([rig.tasks.hold.s() for _ in range(2)])
    await rig.ledger.until(2)
    team.supervisor.send_signal(signal.SIGKILL)
    for _ in team.pids:
        await team.supervisor.line("orphaned")
    rig.open_gate()
    for pid in team.pids:
        await gone(pid)
    assert await team.supervisor.exit() == -signal.SIGKILL
    await rig.check(jobs)


async def test_a_process_killed_while_all_stop_is_told_by_the_exit_code_and_its_jobs_go_back(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    team = await start(rig, *LONG, count=1)
    job = await rig.tasks.hold.delay()
    await rig.ledger.until(1)
    team.supervisor.send_signal(signal.SIGTERM)
    await team.supervisor.line("stopping")
    team.kill(team.pids[0])
    assert await team.supervisor.exit() == 128 + signal.SIGKILL
    assert "starting another" not in team.supervisor.text
    assert ((await job.info()).status, (await job.info()).lost) == ("queued", 1)
    rig.open_gate()
    other = await rig.worker()
    await rig.all_ended([job])
    await rig.stop(other)
    await rig.check([job], may_repeat={job.id})


async def test_a_process_that_somebody_tells_to_stop_is_replaced(rig: Rig):
    await rig.start_server()
    team = await start(rig)
    team.kill(team.pids[0], signal.SIGTERM)
    died = await team.supervisor.line("died", pid=team.pids[0])
    assert (died["code"], died["level"]) == (0, "warning")
    assert await next_pid(team.supervisor) not in team.pids
    await rig.stop(team.supervisor)
    assert "reclaimed" not in team.supervisor.text
    await rig.check([])


async def test_stopped_before_its_processes_work_it_ends_at_once(rig: Rig):
    supervisor = await rig.worker("--processes", "2", ready=False)
    await supervisor.line("store_down")
    at_s = time.monotonic()
    await rig.stop(supervisor)
    assert time.monotonic() - at_s < MARGIN_S


async def test_until_empty_ends_them_all(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    jobs = await rig.app.enqueue_many([rig.tasks.nap.s(0.02) for _ in range(100)])
    supervisor = await rig.worker("--processes", "2", "--until-empty", "-c", "5", ready=False)
    assert await supervisor.exit() == 0
    await rig.check(jobs)


# --- recycling ----------------------------------------------------------------------------------------------------


async def test_after_max_jobs_a_process_is_replaced_and_no_job_is_lost_or_doubled(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    jobs = await rig.enqueue(100)
    supervisor = await rig.worker("--processes", "2", "--max-jobs", "25", ready=False)
    await rig.all_ended(jobs)
    await rig.stop(supervisor)
    by_pid: dict[int, int] = {}
    for entry in rig.ledger.starts():
        by_pid[entry.pid] = by_pid.get(entry.pid, 0) + 1
    assert max(by_pid.values()) <= 25
    assert len(by_pid) >= 4
    await rig.check(jobs)


async def test_a_recycled_process_finishes_what_it_holds_while_its_successor_works(rig: Rig):
    """However long that takes: the grace is for a stop."""
    await rig.start_server()
    await rig.watch_ends()
    supervisor = await rig.worker("--max-jobs", "1", "--grace", "0.1", ready=False)
    first = await next_pid(supervisor)
    held = await rig.tasks.hold.delay()
    await supervisor.line("recycled", reason="--max-jobs")
    second = await next_pid(supervisor)
    job = await rig.tasks.note.delay()
    assert await job.result(timeout=10) == second
    third = await next_pid(supervisor)
    assert not rig.ledger.ends(held)
    rig.open_gate()
    assert await held.result(timeout=10) == first
    await gone(first)
    assert len({first, second, third}) == 3
    await rig.stop(supervisor)
    await rig.check([held, job])


async def test_above_max_memory_a_process_is_replaced(rig: Rig):
    await rig.start_server()
    await rig.watch_ends()
    supervisor = await rig.worker("--max-memory", "160MiB", ready=False)
    first = await next_pid(supervisor)
    small = await rig.tasks.swell.delay(1)
    big = await rig.tasks.swell.delay(128)
    recycled = await supervisor.line("recycled")
    assert recycled["reason"].startswith("--max-memory: it takes ")
    second = await next_pid(supervisor)
    later = await rig.tasks.note.delay()
    assert [await job.result(timeout=10) for job in (small, big, later)] == [first, first, second]
    await rig.stop(supervisor)
    await rig.check([small, big, later])


async def test_a_limit_below_what_an_idle_worker_takes_is_said_once(rig: Rig):
    await rig.start_server()
    supervisor = await rig.worker("--processes", "2", "--max-memory", "1MiB", ready=False)
    assert await supervisor.exit() == 2
    assert supervisor.text.count("before its first job, and --max-memory allows 1 MiB") == 1
    await rig.check([])


# --- fairness -----------------------------------------------------------------------------------------------------


async def test_no_job_waits_in_one_workers_hands_while_another_has_a_free_slot(rig: Rig):
    """Both have just seen jobs that end at once, and so claim ahead; then come jobs of a second."""
    await rig.start_server()
    await rig.watch_ends()
    team = await start(rig, "-c", "5")
    short = await rig.enqueue(2_000)
    await rig.all_ended(short)
    long = await rig.app.enqueue_many([rig.tasks.nap.s(1.0) for _ in range(10)])
    await rig.all_ended(long)
    started_s = sorted(entry.at_s for entry in rig.ledger.starts(*long))
    rig.measured(f"10 jobs of 1 s on 2 x 5 slots: all started within {(started_s[-1] - started_s[0]) * 1000:.0f} ms")
    assert started_s[-1] - started_s[0] < 0.9  # none has waited for another one's end
    assert [len(rig.ledger.starts(*long, pid=pid)) for pid in team.pids] == [5, 5]
    await rig.stop(team.supervisor)
    await rig.check([*short, *long])


# --- uvloop -------------------------------------------------------------------------------------------------------


async def test_on_uvloop_jobs_run_a_blocked_loop_is_told_and_signals_stop_it(rig: Rig):
    pytest.importorskip("uvloop")
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker("--uvloop", "-c", "20")
    jobs = [*await rig.enqueue(200), await rig.tasks.nap_in_thread.delay(0.05), await rig.tasks.block.delay(0.8)]
    assert "block" in (await worker.line("blocked"))["jobs"]
    await rig.all_ended(jobs)
    job = await rig.tasks.hold.delay()
    await rig.ledger.until(203)
    worker.send_signal(signal.SIGINT)
    await worker.line("stopping", running=1)
    worker.send_signal(signal.SIGINT)
    assert await worker.exit() == 130
    rig.open_gate()
    team = await start(rig, "--uvloop")
    await rig.all_ended([job])
    await rig.stop(team.supervisor)
    await rig.check([*jobs, job], may_repeat={job.id})
