"""A run: which peers, which items, how often, in which order; every figure on disk as soon as it is taken."""

from __future__ import annotations

import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis, RedisError

from benchmarks import growth
from benchmarks.catalogue import HERE, OURS, Entry, catalogue
from benchmarks.items import ALONE, ONCE, OURS_ALONE, STEADY, VARIANTS
from benchmarks.limits import limits, ping_s
from benchmarks.notes import Notes
from benchmarks.processes import Failed, Started
from benchmarks.server import redis_server
from benchmarks.stage import Place, Stage
from benchmarks.venvs import NotInstalled, install, ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.results import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure."""

    peers: Sequence[Entry]
    items: Sequence[str]  # names of items.py, and "growth"
    rounds: int
    scale: float  # of the numbers of jobs
    minutes: float  # no peer is begun later, but in the first round


def say(words: str) -> None:
    """What is going on, for whoever waits."""
    print(words, file=sys.stderr, flush=True)


def measure(plan: Plan, writer: Writer) -> None:
    """All of it. Ctrl-C ends all that was started and is passed on, a line in the file saying so."""
    began = time.monotonic()
    try:
        with redis_server() as url, tempfile.TemporaryDirectory(prefix="bench-") as folder, Started() as started:
            redis = Redis.from_url(url)
            place = Place(
                url=url,
                redis=redis,
                notes=Notes(Path(folder) / "notes"),
                folder=Path(folder),
                started=started,
                scale=plan.scale,
            )
            writer.line("run", **machine(redis), rounds=plan.rounds, scale=plan.scale, items=list(plan.items))
            Run(plan, place, writer).all()
    except KeyboardInterrupt:
        writer.line("interrupted", after_s=time.monotonic() - began)
        raise
    writer.line("end", took_s=time.monotonic() - began)


def machine(redis: Any) -> dict[str, Any]:
    """What the figures were taken on."""
    server = redis.info("server")
    commit = _commit()
    kind = "Valkey " + server["valkey_version"] if "valkey_version" in server else "Redis " + server["redis_version"]
    return {
        "at": time.strftime("%Y-%m-%d %H:%M %z"), "cores": os.cpu_count(), "system": platform.platform(terse=True),
        "cpu": _cpu(), "python": platform.python_version(), "server": kind, "commit": commit,
    }  # fmt: skip


def _commit() -> str:
    try:
        return subprocess.run(
            ["git", "-C", str(HERE), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
        ).stdout.strip()
    except OSError:  # there is no git
        return ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


class Run:
    """One pass over a plan."""

    def __init__(self, plan: Plan, place: Place, writer: Writer) -> None:
        self.plan, self.place, self.writer = plan, place, writer
        self.absent: set[str] = set()
        self.ping = 0.0
        self.began = time.monotonic()

    def all(self) -> None:
        """Rounds; in each, the peers in random order."""
        for entry in self.plan.peers:
            self._install(entry)
        for number in range(1, self.plan.rounds + 1):
            self.writer.line("round", number=number)
            self._limits()
            if "growth" in self.plan.items and not self._late(number):
                self._growth(number)
            present = [entry for entry in self.plan.peers if entry.name not in self.absent]
            for entry in random.sample(present, len(present)):
                if self._late(number):
                    say(f"  stopping in round {number} of {self.plan.rounds}: {self.plan.minutes:g} minutes are over")
                    self.writer.line("late", round=number, minutes=self.plan.minutes)
                    return
                self._peer(entry, number)

    def _late(self, number: int) -> bool:
        """Whether time is over. The first round is always whole."""
        return number > 1 and time.monotonic() - self.began > self.plan.minutes * 60

    def _install(self, entry: Entry) -> None:
        try:
            if not ready(entry):
                say(f"installing {', '.join(entry.install)}")
                install(entry)
        except NotInstalled as error:
            self._leave_out(entry, str(error))

    def _leave_out(self, entry: Entry, why: str) -> None:
        self.absent.add(entry.name)
        self.writer.line("absent", peer=entry.name, why=why)
        say(f"  without {entry.name}: {why}")

    def _limits(self) -> None:
        for name, value in limits(self.place.url).items():
            self.writer.line("limit", name=name, value=value)
        self.place.redis.flushall()

    def _peer(self, entry: Entry, number: int) -> None:
        wanted = [item for item in self.plan.items if entry.name == OURS or not entry.ours or item in VARIANTS]
        try:
            with Stage(self.place, entry) as stage:
                if stage.told["skip"]:
                    self._leave_out(entry, stage.told["skip"])
                    return
                if number == 1:
                    self.writer.line("peer", peer=entry.name, at=entry.kind, **_shown(stage.told))
                self.ping = ping_s(self.place.url)
                stage.open()
                alone = [item for item in ALONE if item in wanted and (entry.ours or item not in OURS_ALONE)]
                for item in random.sample(alone, len(alone)):
                    self._take(entry, number, item, lambda item=item: ALONE[item](stage))
                steady = [item for item in STEADY if item in wanted]
                if steady:
                    self._steady(stage, entry, number, steady)
            once = [item for item in ONCE if item in wanted and (number == 1 or entry.ours)]
            for item in once:
                with Stage(self.place, entry) as stage:
                    stage.open()
                    self._take(entry, number, item, lambda item=item, stage=stage: ONCE[item](stage))
        except Failed as error:
            self._failed(entry, number, "start", error)

    def _steady(self, stage: Stage, entry: Entry, number: int, items: list[str]) -> None:
        stage.fresh()
        with stage.workers(schedulers="delayed" in items) as groups:
            try:
                stage.warm_up(groups)
            except Failed as error:
                for item in items:
                    self._failed(entry, number, item, error)
                return
            for item in items:
                self._take(entry, number, item, lambda item=item: STEADY[item](stage, groups))

    def _take(self, entry: Entry, number: int, item: str, measured: Callable[[], dict[str, float]]) -> None:
        """One item, PINGs before and after it."""
        before, began = self.ping, time.monotonic()
        try:
            taken = measured()
        except (Failed, RedisError, ZeroDivisionError) as error:
            self._failed(entry, number, item, error)
            return
        self.ping = ping_s(self.place.url)
        ping = (before + self.ping) / 2
        for figure, value in taken.items():
            self.writer.line("figure", peer=entry.name, figure=figure, value=value, round=number, ping_s=ping)
        shown = ", ".join(f"{figure} {value:,.4g}" for figure, value in taken.items())
        say(f"  {number} {entry.name} {item} ({time.monotonic() - began:.1f} s, {ping:,.0f} PING/s): {shown}")

    def _failed(self, entry: Entry, number: int, item: str, error: Exception) -> None:
        self.writer.line("error", peer=entry.name, item=item, error=str(error), round=number)
        say(f"  {number} {entry.name} {item} failed: {error}")

    def _growth(self, number: int) -> None:
        for entry in (catalogue()["aiotq"],):
            for curve in growth.CURVES:
                self._curve(entry, number, curve)

    def _curve(self, entry: Entry, number: int, curve: str) -> None:
        before = ping_s(self.place.url)
        try:
            with Stage(self.place, entry) as stage:
                for what, point, value in growth.CURVES[curve](stage):
                    after = ping_s(self.place.url)
                    self.writer.line(
                        "growth",
                        curve=curve,
                        what=what,
                        point=point,
                        value=value,
                        round=number,
                        ping_s=(before + after) / 2,
                    )
                    say(f"  {number} growth, {curve}, {point:,}: {what} {value:,.4g} ({after:,.0f} PING/s)")
                    before = after
        except (Failed, RedisError, ZeroDivisionError) as error:
            self._failed(entry, number, f"growth {curve}", error)


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    return {"versions": told["versions"], "setup": told["setup"], "slots": told["slots"], "bulk": told["bulk"]}
