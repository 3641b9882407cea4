"""Where one peer is measured: the server, the notes, its driver and its workers."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.catalogue import HERE
from benchmarks.notes import Notes
from benchmarks.processes import Driver, Failed, Group, Started
from benchmarks.venvs import python_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.catalogue import Entry

READY_S = 15
SETTLE_S = 2
STILL_BYTES = 8_192  # what its own bookkeeping sways
WARM_UP = 1_050_000  # the slot of the job that shows that a worker is ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What all peers of a run share."""

    url: str
    redis: Any  # redis-py, blocking
    notes: Notes
    folder: Path
    started: Started
    scale: float  # of the numbers of jobs: 1, or less to be quick


class Stage:
    """A peer with its driver running; as a context."""

    def __init__(self, place: Place, entry: Entry) -> None:
        self.place, self.entry, self.redis, self.notes = place, entry, place.redis, place.notes
        self.env = os.environ | {"BENCH_URL": place.url, "BENCH_NOTES": str(place.folder / "notes")}
        self.env |= {"PYTHONWARNINGS": "ignore", "PYTHONPATH": str(HERE.parent)}
        self.python = python_of(entry)
        self.driver = Driver(self.python, entry.name, self.env, place.folder / f"{entry.name}.driver.log")
        self.told: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.place.started.add(self.driver)
        try:
            self.told = self.driver.ask("hello")
        except BaseException:
            self.place.started.stop(self.driver)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.place.started.stop(self.driver)

    def jobs(self, seconds: float, least: int = 50) -> int:
        """As many no-op jobs as it drains in about that time."""
        return max(least, round(self.told["jobs_s"] * seconds * self.place.scale))

    def open(self) -> None:
        """Connect; the server empty and nothing noted."""
        self.fresh()
        self.driver.ask("open")

    def fresh(self) -> None:
        """An empty server, and notes of nothing."""
        self.redis.flushall()
        self.redis.config_resetstat()
        self.redis.slowlog_reset()
        self.notes.clear()
        if self.told.get("opened"):
            self.driver.ask("fresh")
        self.told["opened"] = True

    @contextlib.contextmanager
    def workers(
        self, *, schedulers: bool = False, times: int = 1, extra: tuple[str, ...] = ()
    ) -> Iterator[list[Group]]:
        """Its worker processes, started."""
        commands = [[*command, *extra] for command in self.told["workers"]] * times
        commands += self.told["schedulers"] if schedulers else []
        log = self.place.folder / f"{self.entry.name}.worker.log"
        groups: list[Group] = []
        try:
            for command in commands:
                groups.append(Group(command, self.env, log))
                self.place.started.add(groups[-1])
            yield groups
        finally:
            for group in groups:
                with contextlib.suppress(ProcessLookupError):
                    group.process.terminate()
            for group in groups:
                self.place.started.stop(group)

    def stop_schedulers(self, groups: list[Group]) -> None:
        """Leave only what runs jobs."""
        while len(groups) > len(self.told["workers"]):
            self.place.started.stop(groups.pop())

    def until(self, count: int, within_s: float, groups: list[Group]) -> None:
        """Until so many jobs have started. Looks at memory only: nothing is asked of Redis. Raises Failed."""
        deadline = time.monotonic() + within_s
        while not self.notes.all_ran(count):
            ended = next((group for group in groups if group.process.poll() is not None), None)
            if ended is not None:
                raise Failed(f"a worker process ended by itself: {ended.said()[:200]}")
            if time.monotonic() > deadline:
                raise Failed(f"{self.notes.count(count):,} of {count:,} jobs had started after {within_s:g} s")
            time.sleep(0.002)

    def warm_up(self, groups: list[Group]) -> None:
        """Until the workers run jobs. Raises Failed."""
        self.driver.ask("fill", task="noop", jobs=1, first=WARM_UP)
        deadline = time.monotonic() + READY_S
        while not self.notes.start_ns(WARM_UP):
            if time.monotonic() > deadline:
                raise Failed(f"no job had started {READY_S} s after the worker: {groups[0].said()[:200]}")
            time.sleep(0.005)
        time.sleep(0.3)

    def memory(self) -> int:
        """Bytes of data in Redis: what is in use less the buffers of clients."""
        facts = self.redis.info("memory")
        return int(facts["used_memory"]) - int(facts.get("mem_clients_normal", 0))

    def settled_memory(self) -> int:
        """The same, once it stays: buffers of connections come and go for a second after they were used."""
        deadline = time.monotonic() + SETTLE_S
        latest = [self.memory()]
        while time.monotonic() < deadline:
            time.sleep(0.15)
            latest.append(self.memory())
            if len(latest) > 2 and max(latest[-3:]) - min(latest[-3:]) < STILL_BYTES:
                break
        return latest[-1]

    def cpu_s(self) -> float:
        """CPU seconds of the server."""
        facts = self.redis.info("cpu")
        return float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])

    def commands(self) -> int:
        """Commands run, those inside scripts counted; what the benchmark asks is left out."""
        ours = ("cmdstat_info", "cmdstat_ping", "cmdstat_config", "cmdstat_flushall")
        calls = self.redis.info("commandstats").items()
        return sum(entry["calls"] for name, entry in calls if not name.startswith(ours))

    def slowest_script_ms(self) -> float:
        """Of all scripts since the server was emptied that took over 0.5 ms, on a clock that runs on when others do."""
        entries = self.redis.slowlog_get(1_000)
        taken = [entry["duration"] / 1e3 for entry in entries if entry["command"].startswith((b"EVAL", b"FCALL"))]
        return max(taken, default=0.5)
