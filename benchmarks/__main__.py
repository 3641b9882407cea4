"""`python -m benchmarks run [--quick] [--jobs N] [--only NAME,...]`: measure, and print the ratios.

Every figure is taken several times, and beside each of them bare redis-py's PING in the same minute: machines differ,
and one differs from itself an hour later; only ratios in one run count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import figures
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.notes import Notes
from benchmarks.server import NoServer, redis_server

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure, how it is read, and what is expected of it."""

    name: str
    figure: Figure
    unit: str
    goal: str
    per: str = ""  # "ping": a ratio to PINGs in the same time; "roundtrip": a multiple of a PING's round trip


ROWS = (
    Row(name="drain", figure=figures.drain, unit="jobs/s", per="ping", goal=">= 3 a PING"),
    Row(name="enqueue, one caller", figure=figures.enqueue_one, unit="jobs/s", per="ping", goal=">= 0.7 a PING"),
    Row(name="enqueue, 100 callers", figure=figures.enqueue_callers, unit="jobs/s", per="ping", goal=">= 6 a PING"),
    Row(name="enqueue, bulk", figure=figures.enqueue_bulk, unit="jobs/s", per="ping", goal=">= 12 a PING"),
    Row(name="start latency", figure=figures.start_latency_ms, unit="ms", per="roundtrip", goal="< 12 round trips"),
    Row(name="delayed, late by", figure=figures.lateness_ms, unit="ms", goal="< 2 ms"),
    Row(name="queued job", figure=figures.queued_bytes, unit="bytes", goal="<= 270"),
    Row(name="commands a job", figure=figures.commands_a_job, unit="", goal="7 in the prototype"),
    Row(name="Redis CPU a job", figure=figures.redis_cpu_us, unit="us", goal="<= 12"),
    Row(name="idle, sent", figure=figures.idle_commands_s, unit="commands/s", goal="<= 2"),
    Row(name="idle, all", figure=figures.idle_commands_all_s, unit="commands/s", goal="<= 8"),
)


async def measure(url: str, folder: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """Every row, several times, in random order."""
    from redis.asyncio import Redis  # noqa: PLC0415  the environment is set first

    wanted = [row for row in ROWS if not options.only or row.name.replace(",", "").replace(" ", "-") in options.only]
    jobs = options.jobs or (4_000 if options.quick else 20_000)
    taken: dict[str, list[tuple[float, float]]] = {row.name: [] for row in wanted}
    async with Redis.from_url(url) as redis:
        bench = Bench(
            redis,
            Notes(folder / "notes"),
            jobs=jobs,
            few=40 if options.quick else 200,
            idle_s=6 if options.quick else 12,
        )
        from benchmarks.tasks import app  # noqa: PLC0415

        async with app:
            for turn in range(1 if options.quick else 3):
                for row in random.sample(wanted, len(wanted)):
                    await bench.fresh()
                    ping = await bench.ping_s()
                    value = await row.figure(bench)
                    ping = (ping + await bench.ping_s()) / 2
                    taken[row.name].append((value, ping))
                    print(
                        f"  {turn + 1}: {row.name} {value:,.2f} {row.unit}   ({ping:,.0f} PING/s)",
                        file=sys.stderr,
                        flush=True,
                    )
    return [summary(row, taken[row.name]) for row in wanted]


def summary(row: Row, taken: list[tuple[float, float]]) -> dict[str, object]:
    """Medians and spread."""
    values = [value for value, _ in taken]
    found: dict[str, object] = {
        "figure": row.name, "unit": row.unit, "goal": row.goal, "jobs": len(values),
        "median": statistics.median(values), "min": min(values), "max": max(values),
        "ping_s": statistics.median(ping for _, ping in taken),
    }  # fmt: skip
    if row.per == "ping":
        found["ratio"] = statistics.median(value / ping for value, ping in taken)
    elif row.per == "roundtrip":
        found["ratio"] = statistics.median(value / 1000 * ping for value, ping in taken)
    return found


def table(rows: list[dict[str, object]]) -> str:
    """As Markdown."""
    lines = ["| figure | median | min – max | beside bare redis-py | expected |", "| --- | ---: | ---: | ---: | --- |"]
    for row in rows:
        by = next(known.per for known in ROWS if known.name == row["figure"])
        ratio = "" if "ratio" not in row else f"{row['ratio']:.2f} {'a PING' if by == 'ping' else 'round trips'}"
        spread = f"{row['min']:,.2f} – {row['max']:,.2f}"
        lines.append(f"| {row['figure']} | {row['median']:,.2f} {row['unit']} | {spread} | {ratio} | {row['goal']} |")
    return "\n".join(lines)


def main() -> int:
    """Exit code 0, 1 if there is nothing to measure on, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    run = parser.add_subparsers(dest="command", required=True).add_parser(
        "run", help="measure, print a table, keep JSON lines"
    )
    run.add_argument("--quick", action="store_true", help="once, with fewer jobs")
    run.add_argument("--jobs", type=int, default=0)
    run.add_argument("--only", type=lambda text: text.split(","), default=[], help="drain,enqueue-one-caller,...")
    options = parser.parse_args()
    try:
        with redis_server() as url, tempfile.TemporaryDirectory() as folder:
            os.environ |= {"AIOTQ_URL": url, "BENCH_NOTES": f"{folder}/notes"}
            rows = asyncio.run(measure(url, Path(folder), options))
    except NoServer as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
