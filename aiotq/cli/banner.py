"""What a worker says first: what it is, which server, which queues and tasks, how much at once, how to stop it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiotq.cli.text import count, printable, without_passwords

if TYPE_CHECKING:
    from aiotq.cli.look import Line, Look
    from aiotq.source import Source
    from aiotq.store.contract import ServerFacts

MAX_TASKS = 12
_LABEL_WIDTH = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class BannerFacts:
    """All that the banner shows."""

    version: str
    label: str  # the worker's
    python: str
    server: str  # kind, version, where, and where that was said
    namespace: str | None  # None: the default one, not worth a line
    queues: Sequence[str]
    tasks: Sequence[str]  # signatures
    concurrency: int
    threads: int
    pool: int  # processes for CPU-bound tasks; 0: no task wants one
    retries: int | None  # of the tasks, if it is the same for all
    ready_s: float
    processes: int = 1
    health: str | None = None  # the URL at which it answers probes


def banner(facts: BannerFacts, look: Look, width: int | None) -> list[Line]:
    """The lines, with an empty one before and after on a terminal."""
    rows: list[tuple[str, Sequence[str]]] = [
        (f"aiotq {facts.version}", [f"{_workers(facts)}, Python {facts.python}"]),
        ("server", [facts.server]),
        ("queues", [", ".join(facts.queues)]),
        ("tasks", _tasks(facts.tasks)),
        ("running", [_running(facts)]),
    ]
    if facts.health is not None:
        rows.append(("health", [f"{facts.health}/livez and /readyz"]))
    if facts.namespace is not None:
        rows.insert(2, ("namespace", [facts.namespace]))
    lines: list[Line] = []
    for label, values in rows:
        # Tasks are cut to one line each, so that they can be counted at a glance; the rest must be readable whole.
        shown = [row for value in values for row in _rows(without_passwords(value), width, cut=label == "tasks")]
        for number, row in enumerate(shown):
            style = "bold" if label.startswith("aiotq ") and not number else "dim"
            lines.append((("  ", ""), (f"{'' if number else label:<{_LABEL_WIDTH}}", style), (row, "")))
    ready = (f"ready in {facts.ready_s:.1f} s.", "green"), (" Ctrl-C stops gently, twice stops now.", "")
    lines.append((("  ", ""), *ready))
    return [((("", ""),)), *lines, (("", ""),)] if look.terminal else lines


def server_text(facts: ServerFacts, source: Source) -> str:
    """The server's line: what it is, where, and who said so."""
    name = f"{facts.kind} {facts.version}".strip()
    if facts.url.startswith("embedded://"):
        return f"built-in {name} in {_folder(facts.url.removeprefix('embedded://'))}/ ({_why(source)})"
    if facts.url.startswith("memory://"):
        return f"{name} inside this process, gone with it ({_why(source)})"
    return f"{name} at {facts.url} ({_why(source)})"


def source_text(source: Source) -> str:
    """Who named the server, below an error: "from AIOTQ_URL"."""
    return {"default": "the default, as nothing names another", "built-in": "the built-in server"}.get(
        source.origin, f"from {source.origin}"
    )


def _folder(path: str) -> str:
    folder = Path(path or ".aiotq")
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def _why(source: Source) -> str:
    if source.origin == "built-in":
        return "development; set AIOTQ_URL to use your own"
    return "the default" if source.origin == "default" else f"from {source.origin}"


def _workers(facts: BannerFacts) -> str:
    return f"worker {facts.label}" if facts.processes == 1 else f"workers {facts.label}/1 to {facts.processes}"


def _running(facts: BannerFacts) -> str:
    each = "" if facts.processes == 1 else f"{facts.processes} processes, each "
    parts = [f"{each}{facts.concurrency:,} at once", count(facts.threads, "thread")]
    if facts.pool:
        parts.append(f"{facts.pool:,} process{'' if facts.pool == 1 else 'es'} for CPU-bound tasks")
    if facts.retries is not None:
        parts.append(
            "no retries" if facts.retries == 0 else "1 retry" if facts.retries == 1 else f"{facts.retries:,} retries"
        )
    return ", ".join(parts)


def _tasks(signatures: Sequence[str]) -> list[str]:
    if not signatures:
        return ["none: this worker has nothing to run"]
    shown = [printable(signature) for signature in signatures[:MAX_TASKS]]
    more = len(signatures) - len(shown)
    return [*shown, f"and {more:,} more"] if more else shown


def _rows(text: str, width: int | None, *, cut: bool) -> list[str]:
    if width is None:
        return [text]
    room = max(width - _LABEL_WIDTH - 2, 20)
    if cut:
        return [text if len(text) <= room else f"{text[: room - 3]}..."]
    return textwrap.wrap(text, room, break_on_hyphens=False) or [""]
