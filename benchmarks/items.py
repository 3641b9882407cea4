"""The items of work that every peer does. Each takes a `Stage` and returns its figures by name (`figures.py`)."""

from __future__ import annotations

import math
import subprocess
import time
from typing import TYPE_CHECKING, TypeAlias

from redis import TimeoutError as RedisTimeoutError

from benchmarks.processes import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.processes import Group
    from benchmarks.stage import Stage

Taken: TypeAlias = "dict[str, float]"
SIZES = (10, 200, 10_240)
NAP_S = 0.05
BURST, PEERS_BURST = 10_000, 2_000
LIMIT_S = 40  # a measurement's hard limit


def text_of(size: int) -> str:
    """The second of a job's two arguments, the first being a slot's number: `size` bytes of JSON in all."""
    return "x" * max(0, size - len('[12345,""]'))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that so many are not above, by nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def percentiles(name: str, values: Sequence[float]) -> Taken:
    """p50 and p99."""
    return {f"{name}_p50": quantile(values, 0.5), f"{name}_p99": quantile(values, 0.99)}


def enqueue(stage: Stage) -> Taken:
    """(a) one caller, 100 concurrent callers, in bulk; no worker runs."""
    ours = stage.entry.ours
    taken = {"enqueue_one": stage.driver.ask("one", jobs=stage.jobs(0.05 if ours else 0.5), within_s=LIMIT_S)}
    stage.fresh()
    # Threads wait for each other: a blocking peer's 100 callers are slower than one.
    taken["enqueue_callers"] = stage.driver.ask("callers", jobs=stage.jobs(0.8, 200), within_s=LIMIT_S)
    if stage.told["bulk"]:
        stage.fresh()
        taken["enqueue_bulk"] = stage.driver.ask("bulk", jobs=stage.jobs(0.8, 500), within_s=LIMIT_S)
    return taken


def queued(stage: Stage) -> Taken:
    """(h) bytes of Redis's memory that a queued job takes."""
    taken: Taken = {}
    stage.driver.ask("fill", task="noop", jobs=200, within_s=LIMIT_S)  # so that all its connections are there
    for size in SIZES:
        stage.fresh()
        jobs = stage.jobs(0.4, 1_500) if size < 1_000 else 300
        before = stage.settled_memory()
        stage.driver.ask("fill", task="noop", jobs=jobs, rest=[text_of(size)], within_s=LIMIT_S)
        taken[f"queued_{size}"] = (stage.settled_memory() - before) / jobs
    return taken


def drain(stage: Stage) -> Taken:
    """(b) no-op jobs, from the first start to the last; (i) what Redis does for a whole life; (k) (l) on the way.

    The jobs are enqueued by 100 callers: that is the first part of the lives that are counted.
    """
    stage.fresh()
    jobs = stage.jobs(1.5, 100)
    commands, cpu_s = stage.commands(), stage.cpu_s()
    stage.driver.ask("callers" if stage.entry.kind == "asyncio" else "fill", **_noops(stage, jobs), within_s=LIMIT_S)
    started = time.monotonic_ns()
    with stage.workers() as groups:
        stage.until(jobs // 2, LIMIT_S, groups)
        busy = sum(group.memory_mib() for group in groups)
        stage.until(jobs, LIMIT_S, groups)
        first = min(start for start in stage.notes.starts(jobs))
        time.sleep(0.1)
        commands, cpu_s = stage.commands() - commands, stage.cpu_s() - cpu_s
        script_ms = stage.slowest_script_ms()
    stage.told["drained"] = (jobs - 1) / stage.notes.span_s(jobs)
    return {
        "drain": stage.told["drained"], "first_job_s": (first - started) / 1e9, "busy_mib": busy,
        "commands": commands / jobs, "cpu_us": cpu_s / jobs * 1e6, "again": float(stage.notes.again()),
        "script_ms": script_ms,
    }  # fmt: skip


def _noops(stage: Stage, jobs: int) -> dict[str, object]:
    return {"jobs": jobs} if stage.entry.kind == "asyncio" else {"task": "noop", "jobs": jobs}


def work(stage: Stage) -> Taken:
    """(c) (d) jobs that sleep 1 ms, that sleep 50 ms, that take 1 ms of CPU: one queue, in this order."""
    stage.fresh()
    slots = stage.told["slots"]
    naps, long, burns = stage.jobs(0.5), max(10, round(slots * 15 * stage.place.scale)), min(stage.jobs(0.5), 500)
    long = max(long, 2 * slots)
    stage.driver.ask("fill", task="nap", jobs=naps, rest=[0.001], within_s=LIMIT_S)
    stage.driver.ask("fill", task="nap", jobs=long, first=naps, rest=[NAP_S], within_s=LIMIT_S)
    stage.driver.ask("fill", task="burn", jobs=burns, first=naps + long, within_s=LIMIT_S)
    with stage.workers() as groups:
        stage.until(naps + long + burns, LIMIT_S, groups)
    # Starts in waves of all slots: the rate of the waves after the first is that of the whole.
    first, last = _edges(stage, naps, long)
    ideal_s = (long / slots - 1) * NAP_S
    return {
        "nap1": _rate(stage, 0, naps), "burn": _rate(stage, naps + long, burns),
        "nap50": (long - slots) / max(last - first, 1e-9), "nap50_ideal": 100 * ideal_s / max(last - first, 1e-9),
    }  # fmt: skip


def _edges(stage: Stage, first: int, jobs: int) -> tuple[float, float]:
    starts = stage.notes.starts(jobs, first)
    return min(starts) / 1e9, max(starts) / 1e9


def _rate(stage: Stage, first: int, jobs: int) -> float:
    begun, ended = _edges(stage, first, jobs)
    return (jobs - 1) / (ended - begun)


def latency(stage: Stage, _: list[Group]) -> Taken:
    """(e) from the call of one job to its start, the worker idle."""
    jobs = round((200 if stage.entry.ours else 100) * stage.place.scale)
    return percentiles("latency", stage.driver.ask("latency", jobs=jobs, first=100_000, gap_s=0.01, limit_s=3))


def loaded(stage: Stage, _: list[Group]) -> Taken:
    """(e) the same at half the rate that it has just drained at (or drains at as a rule, if that was not measured)."""
    rate = stage.told.get("drained", stage.told["jobs_s"]) / 2
    got = stage.driver.ask("loaded", rate=rate, for_s=1.5 * min(1, 2 * stage.place.scale), first=200_000)
    return percentiles("loaded", got["ms"]) | {"loaded_rate": got["offered"]}


def roundtrip(stage: Stage, _: list[Group]) -> Taken:
    """(f) from the call to the result."""
    jobs = round((200 if stage.entry.ours else 100) * stage.place.scale)
    stage.driver.ask("roundtrip", jobs=3, first=300_000, limit_s=5)  # what is opened at the first one
    return percentiles("roundtrip", stage.driver.ask("roundtrip", jobs=jobs, first=300_010, limit_s=2.5))


def delayed(stage: Stage, _: list[Group]) -> Taken:
    """(g) by how much a delayed job starts late; gaps that no poll's rhythm divides."""
    few = 40 if stage.entry.ours else 20
    asked = {"jobs": few, "first": 400_000, "delay_s": 0.4, "gap_s": 0.053 if stage.entry.ours else 0.107}
    return percentiles("delayed", stage.driver.ask("delayed", **asked, limit_s=15))


def finished(stage: Stage, groups: list[Group]) -> Taken:
    """(h) bytes of Redis's memory that a finished job leaves, its result kept as by default."""
    taken: Taken = {}
    first = 500_000
    for size in SIZES:
        jobs = 100 if stage.told["jobs_s"] < 200 else stage.jobs(0.1, 600) if size < 1_000 else 200
        before = stage.settled_memory()
        stage.driver.ask("fill", task="noop", jobs=jobs, first=first, rest=[text_of(size)], within_s=LIMIT_S)
        deadline = time.monotonic() + LIMIT_S
        while 0 in stage.notes.starts(jobs, first):
            if time.monotonic() > deadline:
                raise Failed(f"{jobs} jobs with {size} bytes of arguments did not all start within {LIMIT_S} s")
            time.sleep(0.02)
        taken[f"finished_{size}"] = (stage.settled_memory() - before) / jobs
        first += jobs
    del groups
    return taken


def idle(stage: Stage, groups: list[Group]) -> Taken:
    """(j) (k) what a worker with nothing to do costs. MONITOR tells commands sent from those inside scripts.

    The last item of a stage: its driver has ended then.
    """
    stage.stop_schedulers(groups)
    stage.place.started.stop(stage.driver)  # the caller's connections are not the worker's
    time.sleep(0.3)
    for_s = (12 if stage.entry.ours else 4) if stage.place.scale >= 1 else 4  # more than its slowest rhythm
    sent, inside = idle_commands(stage, for_s)
    connections = len(stage.redis.client_list())
    memory = sum(group.memory_mib() for group in groups)
    return {
        "idle_sent": sent, "idle_all": sent + inside, "idle_mib": memory,
        "idle_connections": float(connections - 1),  # less the one that asks
    }  # fmt: skip


def idle_commands(stage: Stage, for_s: float) -> tuple[float, float]:
    """Commands a second that clients send, and those that run inside scripts, by MONITOR."""
    sent = inside = 0
    with stage.redis.monitor() as monitor:
        ends = time.monotonic() + for_s
        while (left := ends - time.monotonic()) > 0:
            try:
                if not monitor.connection.can_read(timeout=left):
                    break
                command = monitor.next_command()
            except RedisTimeoutError:  # it came in parts
                continue
            sent += command["client_type"] != "lua"
            inside += command["client_type"] == "lua"
    return sent / for_s, inside / for_s


def imports(stage: Stage) -> Taken:
    """(l) what `import aiotq` takes in a new process; files in the page cache."""
    program = "import time; began = time.perf_counter(); import aiotq; print(time.perf_counter() - began)"
    command = [stage.python, "-c", program]
    found = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(5)]
    return {"import_s": quantile(found, 0.5)}


def burst(stage: Stage) -> Taken:
    """(g) 10,000 jobs due in the same moment (peers: 2,000): how long until the last one has started."""
    stage.fresh()
    jobs = BURST if stage.entry.ours else PEERS_BURST
    with stage.workers(schedulers=True) as groups:
        stage.warm_up(groups)
        delay_s = 2 if stage.entry.ours else 8
        got = stage.driver.ask("at_once", jobs=jobs, delay_s=delay_s, limit_s=25, within_s=2 * LIMIT_S)
    if not got["in_time"]:
        raise Failed(f"enqueuing {jobs:,} delayed jobs took longer than {delay_s} s")
    return {"burst_last_s": got["last_ms"] / 1e3}


ALONE: dict[str, Callable[[Stage], Taken]] = {
    "enqueue": enqueue, "queued": queued, "drain": drain, "work": work, "imports": imports,
}  # fmt: skip
VARIANTS = {"enqueue", "drain", "work", "latency", "loaded", "roundtrip"}  # what another event loop may change
OURS_ALONE = {"imports"}  # what only aiotq is asked for
# These share one worker, in this order.
STEADY: dict[str, Callable[[Stage, list[Group]], Taken]] = {
    "latency": latency, "loaded": loaded, "roundtrip": roundtrip, "delayed": delayed, "finished": finished,
    "idle": idle,
}  # fmt: skip
ONCE: dict[str, Callable[[Stage], Taken]] = {"burst": burst}
