"""`--processes`: several worker processes under one command, killed, stopped, orphaned and recycled."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime
from itertools import pairwise

import pytest

from tests.process.rig import Rig
from tests.process.team import LONG, MARGIN_S, gone, next_pid, start, starts_of, taken


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
    died = [datetime.fromisoformat((await team.supervisor.line("died"))["ts"]).timestamp() for _ in range(4)]
    await rig.all_ended([job])
    gaps_s = [later - earlier for earlier, later in pairwise(died)]
    rig.measured(f"from death to death: {', '.join(f'{gap:.1f}' for gap in gaps_s)} s")
    assert gaps_s[2] > 1.0  # the third wait is drawn from 1 to 2 s, and not spun through
    await rig.stop(team.supervisor)  # it works again: what is over does not spoil the exit code
    info = await job.info()
    assert (info.status, info.lost) == ("failed", 4)
    assert starts_of(rig, [job]) == {job.id: 4}
    await rig.check([job], dead={job.id}, may_repeat={job.id: 3})


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
    if '"event":"reclaimed"' in team.supervisor.text:  # else who hands back got no core, and the lease has to end
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
    for pid in team.pids:  # none has waited for another one's end
        assert max(entry.at_s for entry in rig.ledger.starts(*long, pid=pid)) < min(
            entry.at_s for entry in rig.ledger.ends(*long, pid=pid)
        )
    assert [len(rig.ledger.starts(*long, pid=pid)) for pid in team.pids] == [5, 5]
    await rig.stop(team.supervisor)
    await rig.check([*short, *long])


# --- uvloop -------------------------------------------------------------------------------------------------------


async def test_on_uvloop_jobs_run_a_blocked_loop_is_told_and_signals_stop_it(rig: Rig):
    pytest.importorskip("uvloop")
    await rig.start_server()
    await rig.watch_ends()
    worker = await rig.worker("--uvloop", "-c", "20")
    jobs = [*await rig.enqueue(200), await rig.tasks.nap_in_thread.delay(0.05), await rig.tasks.block.delay(2)]
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
