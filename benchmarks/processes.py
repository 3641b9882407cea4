"""Processes of a run: each in a session of its own, ended by its pid, and none left when the run ends."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GENTLE_S = 2  # what a worker gets to end by itself: its keys are flushed anyway
MIB = 1 << 20


class Failed(Exception):
    """What went wrong at a measurement: the table says it."""


class Group:
    """A command and all that it starts. Its output goes to a file."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path, **pipes: Any) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                list(command),
                env=dict(env),
                start_new_session=True,
                stderr=out,
                **{"stdout": out, "stdin": subprocess.DEVNULL} | pipes,
            )

    def stop(self) -> None:
        """Gently, then by force; children that were left behind too."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GENTLE_S)
        # The session is ours alone: its id is the pid of the process that we started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def said(self) -> str:
        """The last line of its output."""
        lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def memory_mib(self) -> float:
        """Of one process its resident set; of several the sum of theirs, shared pages divided among the sharers."""
        pids = [place for place in Path("/proc").glob("[0-9]*") if _session(place) == self.process.pid]
        if len(pids) == 1:
            return _kib(pids[0], "status", "VmRSS:") / 1024
        return sum(_kib(pid, "smaps_rollup", "Pss:") for pid in pids) / 1024


class Driver(Group):
    """The driver of one peer, asked by JSON lines."""

    def __init__(self, python: str, peer: str, env: Mapping[str, str], log: Path) -> None:
        command = [python, "-m", "benchmarks.driver", peer]
        super().__init__(command, env, log, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._rest = b""

    def ask(self, verb: str, *, within_s: float = 30, **named: Any) -> Any:
        """Its answer. Raises Failed with its words, or when it does not answer in time."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": verb, **named}).encode() + b"\n")
            answer = json.loads(self._line(verb, within_s))
        except BrokenPipeError as error:
            raise Failed(f"its driver ended at {verb}: {self.said()}") from error
        if "error" in answer:
            raise Failed(f"{verb}: {answer['error']}")
        return answer["ok"]

    def _line(self, verb: str, within_s: float) -> bytes:
        assert self.process.stdout is not None
        ends = time.monotonic() + within_s
        while b"\n" not in self._rest:
            left = ends - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failed(f"{verb}: no answer within {within_s:g} s")
            read = os.read(self.process.stdout.fileno(), 1 << 20)
            if not read:
                raise Failed(f"its driver ended at {verb}: {self.said()}")
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line


class Started:
    """All that a run has started. Leaving the context ends it, last in first out, interrupted or not."""

    def __init__(self) -> None:
        self._groups: list[Group] = []

    def add(self, group: Group) -> Group:
        self._groups.append(group)
        return group

    def stop(self, group: Group) -> None:
        group.stop()
        if group in self._groups:
            self._groups.remove(group)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for group in reversed(self._groups):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group.process.pid, signal.SIGTERM)
        for group in reversed(self._groups):
            group.stop()
        self._groups.clear()


def _session(place: Path) -> int:
    """Whose session a process is in; 0: it has gone."""
    try:
        return int((place / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[3])
    except (OSError, IndexError):
        return 0


def _kib(place: Path, file: str, label: str) -> int:
    with contextlib.suppress(OSError):
        for line in (place / file).read_text("utf-8").splitlines():
            if line.startswith(label):
                return int(line.split()[1])
    return 0
