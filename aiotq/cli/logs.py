"""Where a worker process's log lines go. Only the command line sets this up: importing aiotq never does."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

from aiotq.cli.console import Console
from aiotq.cli.jsonlog import JsonFormatter
from aiotq.cli.options import LogFormat

if TYPE_CHECKING:
    from aiotq.cli.look import Paper
    from aiotq.cli.mistake import Mistake
    from aiotq.cli.options import WorkerOptions


def set_up(options: WorkerOptions, paper: Paper, *, worker: str | None = None) -> logging.Handler:
    """Send what aiotq logs, and what the user's code logs unless it has seen to that itself, to stderr.

    worker: the label that lines for machines carry, where several processes write to the same place.
    """
    level = logging.WARNING if options.quiet else logging.DEBUG if options.verbose else logging.INFO
    handler: logging.Handler
    if options.log_format is LogFormat.JSON:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        handler.setLevel(level)
    else:
        handler = Console(paper, level=level)
    if worker is not None:
        handler.addFilter(partial(_named, worker))
    ours = logging.getLogger("aiotq")
    ours.setLevel(level)
    ours.addHandler(handler)
    ours.propagate = False  # a root handler of the user's would say everything a second time
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(handler)
    return handler


def told(mistake: Mistake, options: WorkerOptions) -> int:
    """The exit code of a mistake, said as a line for machines where all else is. Raises it for a person's terminal."""
    if options.log_format is LogFormat.TEXT:
        raise mistake
    extra = {"event": "gave_up", "detail": mistake.detail}
    logging.getLogger("aiotq.cli").critical("%s", mistake, extra=extra)
    return mistake.exit_code


def _named(worker: str, record: logging.LogRecord) -> bool:
    if not hasattr(record, "worker"):
        record.worker = worker
    return True


def take_down(handler: logging.Handler) -> None:
    """Write what is left and detach it."""
    for logger in (logging.getLogger("aiotq"), logging.getLogger()):
        logger.removeHandler(handler)
    handler.close()
