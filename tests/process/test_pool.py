"""Tasks with process=True, in real processes: they end as others do, and what happens to one touches no other."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.errors import JobCancelled
from aiotq.worker import pool
from tests.process import burn
from tests.process.ledger import Ledger
from tests.process.pool_rig import WITHIN_S, app, failure, gone, ledger, runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiotq import App
    from tests.servers import Server

__all__ = ["app", "ledger"]  # fixtures


# --- as other tasks -----------------------------------------------------------------------------------------------


async def test_it_runs_in_another_process_which_the_next_one_uses_again(app: App) -> None:
    async with app.worker():
        pids = [(await (await burn.add.delay(number, right=2)).result(timeout=WITHIN_S))[0] for number in range(3)]
        assert len(set(pids)) == 1
        assert pids[0] != os.getpid()
        assert await (await burn.tock.delay()).result(timeout=WITHIN_S) == os.getpid()
    assert burn.add(1, 2) == (os.getpid(), 3)


async def test_current_job_is_known_there_but_for_the_state(app: App, valkey: Server) -> None:
    async with app.worker():
        job = await burn.job_of.options(priority=2).delay()
        found = await job.result(timeout=WITHIN_S)
        info = await job.info()
    assert found.pop("fence") > 0
    assert found.pop("ticket").endswith(job.id)
    assert found.pop("scribe") > 0
    assert found.pop("enqueued_ms") == round(info.enqueued_at.timestamp() * 1000)
    assert found == {
        "id": job.id,
        "attempt": 1,
        "retries": 2,
        "task": "tests.process.burn:job_of",
        "queue": "default",
        "priority": 2,
        "state": None,
        "headers": {},
    }


@pytest.mark.parametrize(
    ("what", "attempts", "kind", "reason"),
    [
        ("oh", 2, "ValueError", "error"),
        ("retry", 2, "Retry", "error"),
        ("reject", 1, "Reject", "rejected"),
        ("luck", 1, "tests.process.burn:OutOfLuck", "error"),
        ("leave", 2, "SystemExit", "error"),
    ],
)
async def test_what_it_raises_means_what_it_means_elsewhere(
    app: App, ledger: Ledger, what: str, attempts: int, kind: str, reason: str
) -> None:
    async with app.worker():
        job = await burn.raises.delay(what)
        failed = await failure(job)
        info = await job.info()
    assert failed.error_type == kind
    assert failed.frames[-1].function == "raises"
    assert failed.frames[-1].code.startswith("raise ")
    assert (failed.attempt, info.reason) == (attempts, reason)
    assert len(ledger.starts(job)) == attempts


async def test_a_policys_own_function_is_asked_in_the_process(app: App) -> None:
    async with app.worker():
        failed = await failure(await burn.asks_its_policy.delay())
    assert (failed.attempt, failed.error_message) == (2, "2")


async def test_arguments_and_results_that_do_not_fit_fail_that_job(app: App) -> None:
    async with app.worker():
        wrong: Any = "seven"
        unfit = await failure(await burn.add.delay(wrong))
        assert (unfit.error_type, unfit.attempt) == ("SerializationError", 1)
        assert "the argument 'left' does not fit" in unfit.error_message
        assert (await failure(await burn.returns.delay("object"))).error_type == "SerializationError"
        assert (await failure(await burn.returns.delay("large"))).error_type == "ResultTooLarge"
        assert (await (await burn.add.delay(1)).result(timeout=WITHIN_S))[1] == 1


async def test_a_job_that_it_enqueues_goes_where_the_worker_has_its_jobs(app: App) -> None:
    async with app.worker():
        sent: str = await (await burn.send_on.delay()).result(timeout=WITHIN_S)
        assert (await app.job(sent).result(timeout=WITHIN_S))[1] == 3


async def test_two_of_them_keep_two_cores_busy_at_once_and_the_loop_goes_on(app: App, ledger: Ledger) -> None:
    async with app.worker(pool_processes=2):
        jobs = [await burn.meet.delay(2) for _ in range(2)]
        await ledger.until(2)
        assert await (await burn.tock.delay()).result(timeout=WITHIN_S) == os.getpid()
        pids = [await job.result(timeout=WITHIN_S) for job in jobs]
    assert len({*pids, os.getpid()}) == 3
    assert max(entry.at_s for entry in ledger.starts()) < min(entry.at_s for entry in ledger.ends())


# --- timeout, cancel, stop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [burn.spin, burn.match_for_ever], ids=["python", "c"])
async def test_a_timeout_kills_it_whatever_it_does(app: App, ledger: Ledger, task: Any) -> None:
    async with app.worker():
        failed = await failure(await task.options(timeout=0.05, retries=1).delay())
        assert (failed.error_type, failed.attempt) == ("JobTimeout", 2)
        await gone(*(entry.pid for entry in ledger.starts()))


async def test_cancelling_kills_it(app: App, ledger: Ledger) -> None:
    async with app.worker():
        job = await burn.spin.delay()
        await ledger.until(1)
        assert await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(timeout=WITHIN_S)
        await gone(ledger.starts()[0].pid)


async def test_the_time_that_a_process_takes_to_start_is_not_the_attempts(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = pool._Process.start

    async def start_late() -> pool._Process:
        process = await start()
        await asyncio.sleep(1.5)  # the fault: it is slow
        return process

    monkeypatch.setattr(pool._Process, "start", start_late)
    async with app.worker():
        assert (await (await burn.add.options(timeout=1, retries=0).delay(1)).result(timeout=WITHIN_S))[1] == 1


async def test_a_stop_ends_it_after_the_grace_and_gives_its_attempt_back(app: App, ledger: Ledger) -> None:
    async with app.worker(grace=0.05):
        job = await burn.hold.delay()
        await ledger.until(1)
    info = await job.info()
    assert (info.status, info.attempt) == ("queued", 0)
    assert not runs(ledger.starts()[0].pid)
    Path(os.environ["GATE"]).touch()
    async with app.worker() as worker:
        await worker.run_until_empty()
    assert (await job.info()).attempt == 1


async def test_a_stop_lets_it_end_within_the_grace(app: App, ledger: Ledger) -> None:
    async with app.worker() as worker:
        job = await burn.hold.delay()
        await ledger.until(1)
        worker.stop()
        Path(os.environ["GATE"]).touch()
    assert await job.result(timeout=WITHIN_S) == ledger.starts()[0].pid


# --- a process that ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("kill", "signal 9 (SIGKILL)"),
        ("segfault", "signal 11 (SIGSEGV)"),
        ("exit", "exit code 7"),
        ("exit quietly", "exit code 0"),
        ("close", "exit code 1"),
    ],
)
async def test_a_process_that_ends_fails_its_own_attempt_only(
    app: App, ledger: Ledger, how: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "END_S", WITHIN_S)  # else a slow one is killed, and ends by that
    async with app.worker(pool_processes=2):
        neighbour = await burn.hold.delay()
        await ledger.until(1)
        job = await burn.fall.delay(how)
        failed = await failure(job)
        assert (failed.error_type, failed.attempt) == ("ProcessDied", 2)
        assert said in failed.error_message
        assert len(ledger.starts(job)) == 2
        assert await neighbour.status() == "running"
        Path(os.environ["GATE"]).touch()
        assert await neighbour.result(timeout=WITHIN_S) == ledger.starts(neighbour)[0].pid


@pytest.mark.parametrize("noticed", [True, False])
async def test_an_idle_process_that_ends_fails_nothing(app: App, *, noticed: bool) -> None:
    async with app.worker():
        first, _ = await (await burn.add.delay(1)).result(timeout=WITHIN_S)
        os.kill(first, signal.SIGKILL)
        if noticed:
            await gone(first)
        once = burn.add.options(retries=0)
        answers = [await (await once.delay(1)).result(timeout=WITHIN_S) for _ in range(2)]
    assert first not in {pid for pid, _ in answers}


async def test_an_idle_process_is_not_kept_for_long(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_S", 0.05)
    async with app.worker():
        pid, _ = await (await burn.add.delay(1)).result(timeout=WITHIN_S)
        await gone(pid)
        assert (await (await burn.add.delay(1)).result(timeout=WITHIN_S))[0] != pid


async def test_a_process_that_can_not_be_started_fails_that_attempt(
    app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    async with app.worker():
        failed = await failure(await burn.add.options(retries=0).delay(1))
        assert failed.error_type == "ProcessDied"
        assert "could not be started" in failed.error_message


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """What a shell starts in the background ignores SIGINT, and so does what that starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_stops_a_service_fails_no_attempt_whose_process_is_starting(
    app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    """Before Python has started there, nothing in the process can leave the signal to its worker."""
    right = sys.executable

    def python_that_is_met(*, times: int) -> Path:
        met = tmp_path / f"met-{times}"
        met.mkdir()
        python = tmp_path / f"python-{times}"
        python.write_text(
            f'#!/bin/sh\nif [ "$(ls {met} | wc -l)" -lt {times} ]; then : >{met}/$$; kill -{number.name[3:]} $$; fi\n'
            f'exec {right} "$@"\n'
        )
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        return met

    once = burn.add.options(retries=0)
    async with app.worker():
        met = python_that_is_met(times=1)
        assert (await (await once.delay(1)).result(timeout=WITHIN_S))[1] == 1
        assert len(list(met.iterdir())) == 1
    async with app.worker():
        met = python_that_is_met(times=3)
        assert f"signal {number} ({number.name})" in (await failure(await once.delay(1))).error_message
        assert len(list(met.iterdir())) == 2  # it was tried twice, and no more


# --- how many ------------------------------------------------------------------------------------------------------


async def test_jobs_beyond_the_free_processes_are_left_to_other_workers(app: App, ledger: Ledger) -> None:
    async with app.worker(pool_processes=1):
        jobs = [await burn.hold.delay() for _ in range(3)]
        await ledger.until(1)
        async with app.worker(pool_processes=2):
            await ledger.until(3)
            assert len({entry.pid for entry in ledger.starts()}) == 3
            Path(os.environ["GATE"]).touch()
            for job in jobs:
                await job.result(timeout=WITHIN_S)


async def test_one_process_runs_one_job_after_the_other(app: App, ledger: Ledger) -> None:
    async with app.worker(pool_processes=1):
        jobs = [await burn.meet.delay(0) for _ in range(3)]
        assert len({await job.result(timeout=WITHIN_S) for job in jobs}) == 1
    starts, ends = ledger.starts(), ledger.ends()
    assert all(end.at_s <= start.at_s for end, start in zip(ends, starts[1:], strict=False))
