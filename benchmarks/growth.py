"""How aiotq's figures grow with what there is. Each curve yields (what, point, value)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.items import idle_commands, quantile
from benchmarks.processes import Failed, Group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.stage import Stage

Points: TypeAlias = "Iterator[tuple[str, int, float]]"

WINDOW = 20_000  # jobs over which a rate is taken, however many there are
LIMIT_S = 120
CROWD = 50  # workers a process
READY_S = 60


def _points(stage: Stage, *points: int) -> list[int]:
    """Those that the scale of the run allows; the first two always."""
    return [point for number, point in enumerate(points) if number < 2 or point * 0.9 <= points[-1] * stage.place.scale]


def queued(stage: Stage) -> Points:
    """Drain and `delay()` with so many jobs queued: the rate of the first 20,000."""
    stage.open()
    for point in _points(stage, 1_000, 20_000, 100_000, 1_000_000):
        stage.fresh()
        stage.driver.ask("fill", task="noop", jobs=point, within_s=LIMIT_S)
        yield "delay() a second", point, stage.driver.ask("one", jobs=1_000, first=point, within_s=LIMIT_S)
        counted = min(point, WINDOW)
        with stage.workers() as groups:
            stage.until(counted, LIMIT_S, groups)
            yield "drain, jobs/s", point, (counted - 1) / stage.notes.span_s(counted)


def processes(stage: Stage) -> Points:
    """1, 2 and 4 worker processes: the rate of the second half, when all of them run."""
    stage.open()
    for point in (1, 2, 4):
        stage.fresh()
        jobs = stage.jobs(2.4, 20_000)
        stage.driver.ask("fill", task="noop", jobs=jobs, within_s=LIMIT_S)
        with stage.workers(times=point) as groups:
            stage.until(jobs, LIMIT_S, groups)
        starts = sorted(stage.notes.starts(jobs))
        begun, ended = jobs // 2, jobs * 98 // 100
        yield "drain, jobs/s", point, (ended - begun) / (starts[ended] - starts[begun]) * 1e9


def queues(stage: Stage) -> Points:
    """One worker that serves 1, 10 and 100 queues, jobs in all of them."""
    stage.open()
    for point in (1, 10, 100):
        stage.fresh()
        names = [f"q{number}" for number in range(point)]
        jobs = stage.jobs(0.8, 5_000)
        stage.driver.ask("call", method="fill_queues", args=[jobs, names], within_s=LIMIT_S)
        with stage.workers(extra=("--queues", ",".join(names))) as groups:
            stage.until(jobs, LIMIT_S, groups)
        yield "drain, jobs/s", point, (jobs - 1) / stage.notes.span_s(jobs)


def schedule(stage: Stage) -> Points:
    """So many jobs in the schedule, due in an hour: what others notice of it."""
    stage.open()
    for point in _points(stage, 1_000, 20_000, 100_000, 1_000_000):
        stage.fresh()
        stage.driver.ask("call", method="fill_schedule", args=[point], within_s=LIMIT_S)
        yield "delay() a second", point, stage.driver.ask("one", jobs=1_000, within_s=LIMIT_S)
        stage.driver.ask("fill", task="noop", jobs=WINDOW, first=1_000, within_s=LIMIT_S)
        with stage.workers() as groups:
            stage.until(1_000 + WINDOW, LIMIT_S, groups)
            starts = stage.notes.starts(WINDOW, 1_000)
            yield "drain, jobs/s", point, (WINDOW - 1) / (max(starts) - min(starts)) * 1e9
            late = stage.driver.ask("delayed", jobs=20, first=100_000, delay_s=0.3, gap_s=0.053, limit_s=15)
            yield "delayed job late by, ms", point, quantile(late, 0.5)


def idle_workers(stage: Stage) -> Points:
    """So many idle workers, 50 in a process: what they ask of Redis, and how soon one of them starts a job."""
    stage.open()
    for point in (1, 50, 200):
        stage.fresh()
        groups: list[Group] = []
        log = stage.place.folder / f"crowd-{point}.log"
        try:
            for _ in range(max(1, point // CROWD)):
                command = [stage.python, "-m", "benchmarks.crowd", str(min(point, CROWD))]
                groups.append(Group(command, stage.env, log))
                stage.place.started.add(groups[-1])
            _all_ready(groups, log)
            cpu_s, began = stage.cpu_s(), time.monotonic()
            sent, _ = idle_commands(stage, 5)
            yield "commands sent a second", point, sent
            yield "Redis CPU, ms a second", point, (stage.cpu_s() - cpu_s) / (time.monotonic() - began) * 1e3
            found = stage.driver.ask("latency", jobs=50, first=100_000, gap_s=0.01, limit_s=5)
            yield "start latency p50, ms", point, quantile(found, 0.5)
        finally:
            for group in groups:
                stage.place.started.stop(group)


def _all_ready(groups: list[Group], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while log.read_text("utf-8", "replace").count("all are ready") < len(groups):
        if time.monotonic() > deadline or any(group.process.poll() is not None for group in groups):
            raise Failed(f"idle workers did not come up within {READY_S} s: {groups[0].said()[:200]}")
        time.sleep(0.1)
    time.sleep(0.5)


CURVES: dict[str, Callable[[Stage], Points]] = {
    "jobs queued": queued, "worker processes": processes, "queues": queues, "jobs in the schedule": schedule,
    "idle workers": idle_workers,
}  # fmt: skip
