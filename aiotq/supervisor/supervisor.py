"""The supervisor: keeps a number of worker processes alive. It knows neither Redis nor the user's module.

A process is replaced when it has ended, whatever the reason, and when it says that it will: one that is to be recycled
claims no more, its successor starts at once, and it ends when what it holds has ended. What a process that died held
is handed back by a short-lived process of its own (handback.py).
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from aiotq import probes
from aiotq.supervisor import fitness, verdict
from aiotq.supervisor.child import Child
from aiotq.supervisor.processes import Process, Processes
from aiotq.supervisor.verdict import LONG_ENOUGH_S, End, Verdict, exit_code

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator

    from aiotq.health import Health
    from aiotq.supervisor.words import Registered

HANDBACK = "aiotq.supervisor.handback"
SAID_ITSELF = {1, 2}  # exit codes with which a worker's process has said why
LAST_HANDBACK_S = 5.0  # what handing back gets once all worker processes have ended

log = logging.getLogger("aiotq.supervisor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a supervisor is to do."""

    count: int
    label: str
    finite: bool  # its processes end by themselves once nothing is left


class Supervisor:
    """One run of it, on the running loop."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._processes = Processes()
        self._children: set[Child] = set()  # those that have not been seen off
        self._seats: dict[int, Child] = {}  # the latest process of each
        self._handbacks: set[Process] = set()
        self._started = False  # the first process has been started
        self._works = asyncio.Event()  # some process has worked, or none ever will
        self._stopping = asyncio.Event()
        self._signals = 0
        self._codes: dict[int, int] = {}  # by seat: what its last process ended with
        self._failures: Counter[int] = Counter()  # by seat: how many of its processes have failed in a row
        self._late: list[int] = []  # exit codes of recycled ones that ended after their successors had been started

    async def run(self) -> int:
        """Until it is told to stop, or all have done what there was. Returns the exit code."""
        with self._processes.reaping(), self._signalled():
            async with asyncio.TaskGroup() as seats:
                for number in range(1, self._plan.count + 1):
                    seats.create_task(self._keep(number, seats))
            if self._handbacks and self._signals < 2:
                await asyncio.wait([process.ended for process in self._handbacks], timeout=LAST_HANDBACK_S)
            for process in self._handbacks:
                process.send(signal.SIGKILL)
        return verdict.FORCED if self._signals > 1 else verdict.worst([*self._codes.values(), *self._late])

    def health(self) -> Health:
        """How all do. From any thread."""
        now_s = monotonic()
        seats = {
            number: fitness.SeatSigns(
                running=not child.process.ended.done(),
                doing=child.doing,
                silent_s=now_s - child.heard_at_s,
                relief=child.relief,
                age_s=now_s - child.started_at_s,
            )
            for number, child in tuple(self._seats.items())
        }
        return fitness.judge(seats, count=self._plan.count, stopping=self._stopping.is_set())

    # --- one seat -----------------------------------------------------------------------------------------------

    async def _keep(self, number: int, seats: asyncio.TaskGroup) -> None:
        """Keep a process in a seat. The first seat's goes ahead: what is wrong from the start is said once."""
        if number > 1:
            await self._works.wait()
        leaving: Child | None = None  # a recycled one that has jobs in hand
        while not self._stopping.is_set():
            try:
                child = self._start(number)
            except OSError as error:  # too many processes or files, or no memory: that may pass
                told = f"could not start {self._plan.label}/{number} ({error})"
                await self._failed(number, told, event="not_started", number=number)
                continue
            await first_of(child.process.ended, child.full)
            if leaving is not None and not child.process.ended.done():
                await self._room(child, leaving)
            if not child.process.ended.done():
                leaving, self._codes[number] = child, 0
                seats.create_task(self._see_off(child))
                await self._replace(child)
                continue
            end = await self._end_of(child)
            self._codes[number] = exit_code(end)
            if not await self._follow(child, end):
                return

    async def _room(self, child: Child, leaving: Child) -> None:
        """Two at once in a seat, and no more."""
        await first_of(child.process.ended, leaving.process.ended)

    async def _replace(self, child: Child) -> None:
        """Before the successor of one that has had enough is started: at once, if that is not how all of them end."""
        told = f"{self._name(child)} had enough"
        if child.full.result().early:
            await self._failed(child.number, f"{told} before it had ended a job", event="early", **_who(child))
        elif failures := self._failures[child.number]:
            await self._pause(f"{told} and those before it failed", failures, event="restarting", code=0, **_who(child))

    async def _follow(self, child: Child, end: End) -> bool:
        """What follows from an end: whether the seat gets another process."""
        if child.worked_s() >= LONG_ENOUGH_S:
            self._failures[child.number] = 0
        match verdict.judge(end):
            case Verdict.DONE:
                return False
            case Verdict.HOPELESS:
                if end.code not in SAID_ITSELF:
                    self._say_died(child, end)
                self._stop()
                return False
            case Verdict.REPLACE:
                await self._replace(child)
                return True
            case Verdict.RESTART if end.stopping:
                self._say_died(child, end)
                return False
            case Verdict.RESTART:
                await self._failed(child.number, _told(self._name(child), end), **_facts(child, end))
                return True

    async def _failed(self, number: int, told: str, /, **facts: object) -> None:
        """One more process of a seat has failed; the next one waits a little longer than the one before it."""
        self._failures[number] += 1
        await self._pause(told, self._failures[number], **facts)

    def _start(self, number: int) -> Child:
        self._seats[number] = child = self._child(number)
        return child

    def _child(self, number: int) -> Child:
        """A new process for a seat. Raises OSError."""
        before = self._seats.get(number)
        child = Child(
            self._processes,
            label=self._plan.label,
            number=number,
            count=self._plan.count,
            first=not self._started,
            relief=before is not None and before.full.done() and not before.full.result().early,
        )
        self._started = True
        child.when_ready(self._works.set)
        self._children.add(child)
        return child

    async def _see_off(self, child: Child) -> None:
        """Wait for the end of one that is being replaced."""
        end = await self._end_of(child)
        if not exit_code(end) or child.dismissed:
            if not child.full.result().early:
                self._failures[child.number] = 0
        else:
            self._failures[child.number] += 1
            self._say_died(child, end)
            if self._stopping.is_set():
                self._late.append(exit_code(end))

    async def _end_of(self, child: Child) -> End:
        """How it ended. What it held goes back if it could not see to that itself."""
        code = await child.process.ended
        self._children.discard(child)
        end = End(
            code=code,
            ready=child.ready,
            full=child.full.done(),
            first=not self._works.is_set(),
            stopping=self._stopping.is_set(),
            finite=self._plan.finite,
        )
        # One that was told to stop and could say no goodbye is left to its lease, as any worker.
        if child.registered is not None and not (end.stopping and code == 0) and self._signals < 2:
            self._hand_back(child, child.registered)
        return end

    async def _pause(self, told: str, failures: int, **facts: object) -> None:
        """Before a restart. told: what made it necessary."""
        wait_s = verdict.delay_s(failures, spread=random.random())  # noqa: S311  spread, no secret
        level = logging.WARNING if facts.get("code") == 0 else logging.ERROR  # 0: somebody told it to stop
        log.log(level, "%s; starting another in %.1f s", told, wait_s, extra=facts)
        try:
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _say_died(self, child: Child, end: End) -> None:
        log.error("%s", _told(self._name(child), end), extra=_facts(child, end))

    def _name(self, child: Child) -> str:
        return f"{self._plan.label}/{child.number} (pid {child.process.pid})"

    # --- what a dead one held ------------------------------------------------------------------------------------

    def _hand_back(self, child: Child, registered: Registered) -> None:
        """In a process of its own, which loads redis and may wait for a server that is away."""
        try:
            process = self._processes.start([sys.executable, "-m", HANDBACK], fed=True)
        except OSError as error:
            log.error("%s held jobs that run again once its lease has ended (%s)", self._name(child), error)  # noqa: TRY400
            return
        process.hand_over(msgspec.json.encode(registered))  # not in its arguments: they are for all to read
        self._handbacks.add(process)

        def ended(code: asyncio.Future[int]) -> None:
            self._handbacks.discard(process)
            extra = {"worker": registered.worker_id, "pid": child.process.pid}
            if code.result() == 0:
                told = "what %s held is back in its queues"
                log.warning(told, self._name(child), extra={**extra, "event": "reclaimed"})
            else:
                told = "what %s held could not be handed back; it runs again once its lease has ended"
                log.error(told, self._name(child), extra={**extra, "event": "not_reclaimed"})

        process.ended.add_done_callback(ended)

    # --- how it is stopped --------------------------------------------------------------------------------------

    @contextmanager
    def _signalled(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signal)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _signal(self) -> None:
        """The first stops all gently, the second now, the third kills them."""
        self._signals += 1
        if self._signals == 1:
            self._stop()
            return
        for child in self._children:
            if self._signals == 2:
                child.stop(now=True)
            else:
                child.kill()
        for process in self._handbacks:
            process.send(signal.SIGKILL)

    def _stop(self) -> None:
        self._stopping.set()
        self._works.set()  # for those who wait to start: they will see that they need not
        for child in self._children:
            child.stop()


def _told(name: str, end: End) -> str:
    return f"{name} {verdict.said(end.code)}"


def _facts(child: Child, end: End) -> dict[str, object]:
    return {"event": "died", **_who(child), "code": end.code}


def _who(child: Child) -> dict[str, Any]:
    return {"number": child.number, "pid": child.process.pid}


async def first_of(*ends: asyncio.Future[Any]) -> None:
    """Wait until one of them is done."""
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)


def supervise(make: Callable[[], Supervisor], listening: socket.socket | None = None) -> int:
    """Run a supervisor. Returns the exit code. listening: where it answers probes."""
    supervisor = make()
    with nullcontext() if listening is None else probes.answering(listening, supervisor.health):
        return asyncio.run(supervisor.run())
