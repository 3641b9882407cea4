"""A worker's process: from what the command line said to an exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.app import App
from aiotq.cli import heap, logs, port
from aiotq.cli.banner import BannerFacts, banner, server_text, source_text
from aiotq.cli.console import Console
from aiotq.cli.lines import start_one
from aiotq.cli.look import Paper, look_of
from aiotq.cli.loops import loop_factory
from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK, Mistake
from aiotq.cli.options import WorkerOptions
from aiotq.cli.resolve import resolve
from aiotq.cli.seat import Seated
from aiotq.cli.signals import two_steps
from aiotq.cli.text import duration, printable, reason
from aiotq.cli.traces import user_traceback
from aiotq.errors import StoreError, StoreUnavailable, UsageError, parts
from aiotq.frames import full_traceback
from aiotq.settings import AppSettings
from aiotq.supervisor.words import Broken
from aiotq.version import __version__
from aiotq.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Generator

    from aiotq.supervisor.link import Link

TICK_S = 0.5
LEFTOVERS_S = 2.0  # what asyncio tasks that users' code left behind get to end, once they are cancelled

log = logging.getLogger("aiotq.cli")


def run_worker(options: WorkerOptions, link: Link | None = None) -> int:
    """Run a worker until it is stopped. Returns the exit code; raises Mistake and UsageError. link: to a supervisor."""
    began_s = time.monotonic()
    if options.quiet and options.verbose:
        raise Mistake("--quiet and --verbose exclude each other", "leave one of them out")
    paper = Paper(sys.stderr, look_of(sys.stderr, os.environ, verbose=options.verbose))
    loops = loop_factory(uvloop=options.uvloop)
    app = _resolved(options, link)
    settings = _redirect(app, options)
    worker = app.worker(
        options.queues or None,
        concurrency=options.concurrency,
        threads=options.threads,
        pool_processes=options.pool_processes,
        grace=options.grace_s,
        lease=options.lease_s,
        name=options.name if link is None else link.seat.name,
    )
    seated = None
    if link is not None:
        seated = Seated(link=link, worker=worker, options=options)
        seated.attach(app.source(), settings)
    handler = logs.set_up(options, paper, worker=None if seated is None else worker.label)
    if isinstance(handler, Console):
        who = "" if seated is None or seated.link.seat.count == 1 else worker.label
        handler.starting(tasks=app.registry.names, source=source_text(app.source()), who=who)
    process = _Process(
        app=app, settings=settings, worker=worker, options=options, seated=seated, paper=paper, handler=handler,
        began_s=began_s,
    )  # fmt: skip
    observers = app._core.hooks.observers  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    try:
        with (
            port.answering(options, worker, link, observers) as process.health,
            asyncio.Runner(loop_factory=loops) as runner,
        ):
            return runner.run(process.serve())
    except Mistake as mistake:
        return logs.told(mistake, options)
    finally:
        logs.take_down(handler)


def _resolved(options: WorkerOptions, link: Link | None) -> App:
    try:
        return resolve(options.target)
    except Mistake as mistake:
        if link is not None:
            link.tell(Broken(theirs=bool(mistake.detail)))
        raise


def _redirect(app: App, options: WorkerOptions) -> AppSettings:
    """What the command line says goes before what the App says. Returns the app's settings."""
    core = app._core  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    core.override = options.url
    if options.namespace is not None:
        core.settings = replace(core.settings, namespace=checks.namespace("namespace", options.namespace))
    return core.settings


@dataclass(slots=True, kw_only=True)
class _Process:
    """One worker's process, from start to exit code."""

    app: App
    settings: AppSettings
    worker: Worker
    options: WorkerOptions
    seated: Seated | None  # under a supervisor
    paper: Paper
    handler: logging.Handler
    began_s: float
    stopping: bool = False  # a signal came
    health: str | None = None  # the URL at which it answers probes

    async def serve(self) -> int:
        """Start, work, end."""
        loop = asyncio.get_running_loop()
        with self._heeding(loop), _ticking(loop, self.handler), ExitStack() as stack:
            if not await self._start():
                log.info("stopped before it was connected", extra={"event": "stopped"})
                return EXIT_OK
            if self.seated is not None:
                await self._take_seat(self.seated)
                stack.enter_context(self.seated.measured(loop))
            heap.settle()
            self._say_ready()
            try:
                code = await self.worker.run(until_empty=self.options.until_empty)
            except Exception as error:
                raise Mistake("the worker failed", detail=full_traceback(error), exit_code=EXIT_FAILURE) from error
            if self.worker.stuck or not await _end_leftovers() or not await _threads_end(loop):
                self._leave_now(code)
            return code

    @contextmanager
    def _heeding(self, loop: asyncio.AbstractEventLoop) -> Generator[None]:
        """Within it, signals stop the worker, and so does its supervisor."""
        seated, now = self.seated, partial(self._stop, now=True)
        if seated is None:
            with two_steps(loop, gently=self._stop, now=now):
                yield
        else:
            with (
                two_steps(loop, gently=self._stop, now=now, counted=seated.link.gone, deaf_after=True),
                seated.attended(loop, self._stop),
            ):
                yield

    async def _take_seat(self, seated: Seated) -> None:
        try:
            seated.ready()
        except Mistake:
            self.worker.stop(now=True)
            await self.worker.run()
            raise

    def _stop(self, *, now: bool = False) -> None:
        self.stopping = True
        self.worker.stop(now=now)

    async def _start(self) -> bool:
        """Connect and register. False if it was stopped meanwhile."""
        give_up_s = self.settings.connect_timeout_s if self.options.until_empty else None
        try:
            await self.worker.start(give_up_s=give_up_s)
        except asyncio.CancelledError:
            if not self.stopping:
                raise
            return False
        except StoreUnavailable as error:
            if give_up_s is None:  # it is the lifespan that has given up
                told = user_traceback(error)
                raise Mistake("starting the worker failed", detail=told, exit_code=EXIT_FAILURE) from error
            raise Mistake(
                f"no Redis at {printable(error.url)} ({reason(str(error))}), given up after {duration(give_up_s)}",
                f"{source_text(self.app.source())}; {start_one(error.url, reason(str(error)))}",
                exit_code=EXIT_FAILURE,
            ) from error
        except StoreError as error:
            said = parts(printable(str(error)))
            raise Mistake(*said, source_text(self.app.source()), exit_code=EXIT_FAILURE) from error
        except UsageError:
            raise
        except Exception as error:
            raise Mistake("starting the worker failed", detail=user_traceback(error), exit_code=EXIT_FAILURE) from error
        return True

    def _say_ready(self) -> None:
        worker, options = self.worker, self.options
        assert worker.facts is not None
        tasks = tuple(self.app.registry)
        retries = {task.retries for task in tasks}
        seat = None if self.seated is None else self.seated.link.seat
        facts = BannerFacts(
            version=__version__,
            label=worker.label if seat is None or seat.count == 1 else seat.label,
            python=platform.python_version(),
            server=server_text(worker.facts, self.app.source()),
            namespace=None if self.settings.namespace == "aiotq" else self.settings.namespace,
            queues=worker.queues,
            tasks=[task.signature for task in tasks],
            concurrency=options.concurrency,
            threads=options.threads,
            pool=worker.pool_processes,
            retries=retries.pop() if len(retries) == 1 else None,
            ready_s=time.monotonic() - self.began_s,
            processes=1 if seat is None else seat.count,
            health=self.health,
        )
        if isinstance(self.handler, Console):
            self.handler.ready()
            if not options.quiet and (seat is None or seat.first):
                self.paper.write(banner(facts, self.paper.look, self.paper.width))
        log.info(
            "worker %s is ready: %s",
            worker.label,
            facts.server,
            extra={
                "event": "ready",
                "version": facts.version,
                "worker": worker.label,
                "pid": os.getpid(),
                "server": f"{worker.facts.kind} {worker.facts.version}",
                "url": worker.facts.url,
                "origin": self.app.source().origin,
                "namespace": self.settings.namespace,
                "queues": facts.queues,
                "tasks": self.app.registry.names,
                "concurrency": facts.concurrency,
                "threads": facts.threads,
                "pool_processes": facts.pool,
                "health": facts.health,
            },
        )

    def _leave_now(self, code: int) -> None:
        """End the process although code of a job goes on in it: nothing else could end that."""
        logs.take_down(self.handler)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def _ticking(loop: asyncio.AbstractEventLoop, handler: logging.Handler) -> Generator[None]:
    """Within it, the console's counts of a second are shown though nothing more comes."""
    if not isinstance(handler, Console):
        yield
        return

    def tick() -> None:
        nonlocal timer
        handler.tick()
        timer = loop.call_later(TICK_S, tick)

    timer = loop.call_later(TICK_S, tick)
    try:
        yield
    finally:
        timer.cancel()


async def _end_leftovers() -> bool:
    """Cancel what users' code left running. False if something is left: `asyncio.run` would wait for it for ever."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        _, left = await asyncio.wait(left, timeout=LEFTOVERS_S)
    return not left


async def _threads_end(loop: asyncio.AbstractEventLoop) -> bool:
    """Wait for what users' code has handed to `asyncio.to_thread`. False if it goes on: Python would wait for it."""
    ending = asyncio.ensure_future(loop.shutdown_default_executor())  # noqa: TID251  waited for below
    await asyncio.wait({ending}, timeout=LEFTOVERS_S)
    return ending.done()
