"""`JobLogHandler`: what a job logs with the standard library's `logging` goes into its own log as well."""

from __future__ import annotations

import logging

from aiotq.current import CURRENT


class JobLogHandler(logging.Handler):
    """Sends what is logged inside a job to the job's log, as `current_job().log()` does; what is not, it leaves alone.

        logging.getLogger().addHandler(JobLogHandler(level=logging.INFO))

    Add it where a worker imports it: in the module of the tasks. It knows the job by its context: of a thread that a
    task has started itself nothing is taken. Nor are lines of aiotq itself. Without a formatter a line is the message,
    and the traceback if there is one.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        job = CURRENT.get(None)
        if job is None or job.scribe is None or record.name.partition(".")[0] == "aiotq":
            return  # a worker's own lines may be logged in the context of one of its jobs
        try:
            job.log(self.format(record), record.levelname)
        except Exception:  # noqa: BLE001  as logging's own handlers do: what is logged never fails the program
            self.handleError(record)
