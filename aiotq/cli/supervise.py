"""One process or several: what the command line's process becomes."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.cli import logs, port
from aiotq.cli.look import Paper, look_of
from aiotq.cli.mistake import Mistake
from aiotq.cli.run import run_worker
from aiotq.supervisor.link import Link
from aiotq.supervisor.processes import unblock_interrupts
from aiotq.supervisor.supervisor import Plan, supervise
from aiotq.supervisor.words import take

if TYPE_CHECKING:
    from aiotq.cli.options import WorkerOptions


def run_processes(options: WorkerOptions) -> int:
    """Run a worker here, or a supervisor of some, or one of those. Returns the exit code; raises as `run_worker`."""
    seat = take(os.environ)
    if seat is not None:
        unblock_interrupts()
        return run_worker(options, Link(seat))
    if options.processes is None and options.max_jobs is None and options.max_memory is None:
        return run_worker(options)
    label = f"{socket.gethostname()}-{secrets.token_hex(2)}" if options.name is None else options.name
    plan = Plan(count=options.processes or 1, label=checks.word("name", label), finite=options.until_empty)
    handler = logs.set_up(options, Paper(sys.stderr, look_of(sys.stderr, os.environ, verbose=options.verbose)))
    try:
        return supervise(plan, port.taken(options))
    except Mistake as mistake:
        return logs.told(mistake, options)
    finally:
        logs.take_down(handler)
