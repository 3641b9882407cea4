"""The command line. Exit codes: 0; 1 there is nothing to measure on, or a gate is not met; 2 usage; 130 interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from redis import RedisError

from benchmarks.catalogue import UsageError, catalogue, chosen
from benchmarks.compare import comparison
from benchmarks.figures import ITEMS
from benchmarks.gate import gate
from benchmarks.plots import pyplot
from benchmarks.processes import Failed
from benchmarks.publish import DOCS, publish
from benchmarks.results import RESULTS, Writer, new_file, read
from benchmarks.run import Plan, measure
from benchmarks.server import NoServer
from benchmarks.table import report

QUICK_PEERS = ("aiotq", "saq", "arq", "taskiq-stream")


def main(arguments: list[str] | None = None) -> int:
    """One command."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return options.run(options)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (NoServer, Failed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except RedisError as error:
        print(f"error: the Redis of this run is gone ({error}); its figures so far are kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _interrupt(*_: object) -> None:
    """A polite end asked for by a signal is that of Ctrl-C."""
    raise KeyboardInterrupt


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="measure; print a table, keep JSON lines in benchmarks/results/")
    run.set_defaults(run=_run)
    run.add_argument("--peers", type=_words, default=[], help=f"of {','.join(catalogue())}; aiotq always takes part")
    run.add_argument("--only", type=_words, default=[], help=f"items of work, of {','.join(ITEMS)},growth")
    run.add_argument("--rounds", type=int, default=0, help="how often everything is measured (3)")
    run.add_argument(
        "--jobs", type=int, default=0, help="jobs of aiotq's drain (75,000); all other numbers in proportion"
    )
    run.add_argument("--quick", action="store_true", help=f"under 5 minutes: {', '.join(QUICK_PEERS)}, once, no growth")
    run.add_argument("--publish", action="store_true", help="write the table and the plots to docs/benchmarks/ too")
    run.add_argument("--minutes", type=float, default=37, help="after the first round, no peer is begun later (37)")
    run.add_argument("--results", type=Path, default=RESULTS, help="the folder of result files (benchmarks/results)")
    compare = commands.add_parser(
        "compare", help="two result files: ratios, and whether they differ by more than their spread"
    )
    compare.set_defaults(run=_compare)
    compare.add_argument("a", type=Path)
    compare.add_argument("b", type=Path)
    shown = commands.add_parser("publish", help="the table and plots of a result file into docs/benchmarks/")
    shown.set_defaults(run=_publish)
    shown.add_argument("file", type=Path)
    held = commands.add_parser("gate", help="CI's quick benchmark: aiotq beside bare redis-py, and what is on record")
    held.set_defaults(run=lambda options: gate(keep=options.record))
    held.add_argument("--record", action="store_true", help="rewrite benchmarks/baseline.json")
    return parser


def _run(options: argparse.Namespace) -> int:
    entries = catalogue()
    peers = chosen("peer", options.peers, list(entries)) or (list(QUICK_PEERS) if options.quick else list(entries))
    items = chosen("item", options.only, [*ITEMS, "growth"]) or [*ITEMS, *([] if options.quick else ["growth"])]
    peers = list(dict.fromkeys(["aiotq", *peers]))
    scale = options.jobs / 75_000 if options.jobs else (0.3 if options.quick else 1.0)
    plan = Plan(
        peers=[entries[name] for name in peers],
        items=items,
        scale=scale,
        rounds=options.rounds or (1 if options.quick else 3),
        minutes=options.minutes,
    )
    if options.publish:
        pyplot()  # that it is missing is said before the measurements
    writer = Writer(new_file(options.results))
    try:
        measure(plan, writer)
    except KeyboardInterrupt:
        print(
            f"interrupted; all that was started is stopped, the figures so far are in {_short(writer.path)}",
            file=sys.stderr,
        )
        return 130
    results = read(writer.path)
    if options.publish:
        publish(results, DOCS)
    print(report(results))
    print(f"\nThe figures are in {_short(writer.path)}.")
    return 0


def _compare(options: argparse.Namespace) -> int:
    print(comparison(read(_found(options.a)), read(_found(options.b))))
    return 0


def _publish(options: argparse.Namespace) -> int:
    publish(read(_found(options.file)), DOCS)
    print(f"written: {_short(DOCS)}")
    return 0


def _found(path: Path) -> Path:
    """As given, or a name in benchmarks/results/."""
    near = RESULTS / path.with_suffix(".jsonl").name
    return near if not path.exists() and path.parent == Path() and near.exists() else path


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
