"""`python -m benchmarks.price BEFORE`: what a change costs a drain. BEFORE is a checkout of the commit before it.

Both drain no-op jobs in turn on one server, each run in a process of its own, AB BA AB: a machine that slows down slows
both. CPU seconds of the worker and of Redis are counted besides wall seconds, since only these hold still on a machine
that others use too. 24 pairs take three minutes. `--here` is one such run, of whichever aiotq PYTHONPATH finds first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from redis import Redis

HERE = Path(__file__).parent.parent
LIMIT_S = 120


def drained(url: str, jobs: int) -> dict[str, float]:
    """What draining costs, in µs a job: `wall`, `worker` (CPU of this process), `redis` (CPU of the server)."""
    from aiotq import App  # noqa: PLC0415  the one under test, found by PYTHONPATH

    raw = Redis.from_url(url)
    raw.flushall()
    app = App(url)
    task = app.task(name="noop")(_noop)

    def redis_s() -> float:
        used = raw.info("cpu")
        return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])

    async def run() -> dict[str, float]:
        async with app:
            await app.enqueue_many([task.s(number) for number in range(jobs)])
            began = time.perf_counter(), time.process_time(), redis_s()
            async with app.worker() as worker:
                await worker.run_until_empty()
            ended = time.perf_counter(), time.process_time(), redis_s()
        assert worker.tally["succeeded"] == jobs, worker.tally
        return {
            name: (after - before) / jobs * 1e6
            for name, before, after in zip(("wall", "worker", "redis"), began, ended, strict=True)
        }

    return asyncio.run(run())


async def _noop(number: int) -> None:
    pass


def _child(checkout: Path, url: str, jobs: int) -> dict[str, float]:
    # By its path, so that the aiotq of that checkout is measured by the same code.
    command = [sys.executable, str(Path(__file__)), "--here", url, "--jobs", str(jobs)]
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=env, cwd=checkout, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    return json.loads(done.stdout)


def compared(before: Path, *, pairs: int, jobs: int) -> str:
    """A table: each figure before and after, medians, and the median of the ratios of the pairs."""
    from benchmarks.server import redis_server  # noqa: PLC0415  not where a child runs

    found: dict[Path, list[dict[str, float]]] = {before: [], HERE: []}
    with redis_server() as url:
        for checkout in found:
            _child(checkout, url, jobs)
        for number in range(pairs):
            for checkout in (before, HERE) if number % 2 == 0 else (HERE, before):
                found[checkout].append(_child(checkout, url, jobs))
    lines = ["| µs a job | before | after | after / before, of the pairs |", "| --- | ---: | ---: | ---: |"]
    for name in ("wall", "worker", "redis"):
        old, new = ([run[name] for run in found[checkout]] for checkout in (before, HERE))
        ratios = sorted(b / a for a, b in zip(old, new, strict=True))
        spread = f"{ratios[len(ratios) // 4]:.2f} to {ratios[-1 - len(ratios) // 4]:.2f}"
        medians = f"{statistics.median(old):.1f} | {statistics.median(new):.1f}"
        lines.append(f"| {name} | {medians} | {statistics.median(ratios):.3f} (half of them {spread}) |")
    return "\n".join(lines)


def main() -> None:
    """One run, or the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.price")
    parser.add_argument("before", type=Path, nargs="?", help="a checkout of the commit before")
    parser.add_argument("--here", metavar="URL", help="one run, on that server")
    parser.add_argument("--jobs", type=int, default=30_000)
    parser.add_argument("--pairs", type=int, default=24)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(drained(options.here, options.jobs)))
    elif options.before is None:
        parser.error("name a checkout of the commit before, or --here URL")
    else:
        print(compared(options.before.resolve(), pairs=options.pairs, jobs=options.jobs))


if __name__ == "__main__":
    main()
