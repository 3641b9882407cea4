"""One process or several: what the command line's process becomes."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.cli import logs, port, reload
from aiotq.cli.look import Paper, look_of
from aiotq.cli.mistake import Mistake
from aiotq.cli.run import run_worker
from aiotq.supervisor.link import Link
from aiotq.supervisor.processes import unblock_interrupts
from aiotq.supervisor.reloading import Changes, Reloading
from aiotq.supervisor.supervisor import Plan, Supervisor, supervise
from aiotq.supervisor.words import take

if TYPE_CHECKING:
    from aiotq.cli.options import WorkerOptions


def run_processes(options: WorkerOptions) -> int:
    """Run a worker here, or a supervisor of some, or one of those. Returns the exit code; raises as `run_worker`."""
    seat = take(os.environ)
    if seat is not None:
        unblock_interrupts()
        # Of two saves within a second that leave a file's size as it was, the second would run as the first's bytecode.
        sys.dont_write_bytecode |= options.reload
        return run_worker(options, Link(seat))
    if not (options.processes or options.max_jobs or options.max_memory or options.reload):
        return run_worker(options)
    changes = _changes(options) if options.reload else None
    label = f"{socket.gethostname()}-{secrets.token_hex(2)}" if options.name is None else options.name
    plan = Plan(count=options.processes or 1, label=checks.word("name", label), finite=options.until_empty)
    handler = logs.set_up(options, Paper(sys.stderr, look_of(sys.stderr, os.environ, verbose=options.verbose)))
    try:
        listening = port.taken(options)
        return supervise(lambda: Supervisor(plan) if changes is None else Reloading(plan, changes), listening)
    except Mistake as mistake:
        return logs.told(mistake, options)
    finally:
        logs.take_down(handler)


def _changes(options: WorkerOptions) -> Changes:
    if options.until_empty:
        raise Mistake("--reload and --until-empty exclude each other", "leave one of them out")
    return reload.changes(options.target)
