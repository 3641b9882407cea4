"""The figures: what each is called, its unit, which way is better, and by which item of work it is taken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of one peer."""

    title: str
    unit: str
    item: str
    more: bool = False  # is more better?
    per_ping: bool = False  # shown beside PINGs in the same minute


def _sizes(item: str, words: str) -> dict[str, Figure]:
    return {
        f"{item}_{size}": Figure(title=f"{words}, {shown} of arguments", unit="bytes", item=item)
        for size, shown in ((10, "10 bytes"), (200, "200 bytes"), (10240, "10 KiB"))
    }


FIGURES: dict[str, Figure] = {
    "enqueue_one": Figure(title="enqueue, one caller", unit="jobs/s", item="enqueue", more=True, per_ping=True),
    "enqueue_callers": Figure(title="enqueue, 100 callers", unit="jobs/s", item="enqueue", more=True, per_ping=True),
    "enqueue_bulk": Figure(title="enqueue in bulk", unit="jobs/s", item="enqueue", more=True, per_ping=True),
    "drain": Figure(title="drain, no-op jobs", unit="jobs/s", item="drain", more=True, per_ping=True),
    "first_job_s": Figure(title="process start to first job", unit="s", item="drain"),
    "busy_mib": Figure(title="memory of the workers, busy", unit="MiB", item="drain"),
    "again": Figure(title="jobs run more than once", unit="", item="drain"),
    "commands": Figure(title="Redis commands a job", unit="", item="drain"),
    "cpu_us": Figure(title="Redis CPU a job", unit="µs", item="drain"),
    "script_ms": Figure(title="slowest script", unit="ms", item="drain"),
    "nap1": Figure(title="drain, 1 ms of sleep", unit="jobs/s", item="work", more=True),
    "nap50": Figure(title="drain, 50 ms of sleep", unit="jobs/s", item="work", more=True),
    "nap50_ideal": Figure(title="the same, of the ideal", unit="%", item="work", more=True),
    "burn": Figure(title="drain, 1 ms of CPU", unit="jobs/s", item="work", more=True),
    "latency_p50": Figure(title="start latency, idle, p50", unit="ms", item="latency"),
    "latency_p99": Figure(title="start latency, idle, p99", unit="ms", item="latency"),
    "loaded_p50": Figure(title="start latency, half load, p50", unit="ms", item="loaded"),
    "loaded_p99": Figure(title="start latency, half load, p99", unit="ms", item="loaded"),
    "loaded_rate": Figure(title="the half load", unit="jobs/s", item="loaded", more=True),
    "roundtrip_p50": Figure(title="call to result, p50", unit="ms", item="roundtrip"),
    "roundtrip_p99": Figure(title="call to result, p99", unit="ms", item="roundtrip"),
    "delayed_p50": Figure(title="delayed job late by, p50", unit="ms", item="delayed"),
    "delayed_p99": Figure(title="delayed job late by, p99", unit="ms", item="delayed"),
    "burst_last_s": Figure(title="10,000 (peers: 2,000) due at once: the last late by", unit="s", item="burst"),
    **_sizes("queued", "queued job"),
    **_sizes("finished", "finished job"),
    "import_s": Figure(title="import aiotq", unit="s", item="imports"),
    "idle_sent": Figure(title="idle worker, commands sent", unit="/s", item="idle"),
    "idle_all": Figure(title="idle worker, those in scripts too", unit="/s", item="idle"),
    "idle_mib": Figure(title="memory of the workers, idle", unit="MiB", item="idle"),
    "idle_connections": Figure(title="connections of the workers", unit="", item="idle"),
}

ITEMS = tuple(dict.fromkeys(figure.item for figure in FIGURES.values()))
