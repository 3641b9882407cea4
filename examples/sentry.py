"""Sentry for the jobs of an app: a middleware that reports what a task raises, with the job beside it.

    sentry_sdk.init(dsn="...", include_local_variables=False)  # else a traceback has the arguments of the task
    app = App(middleware=[Sentry()])

docs/hooks.md says what middlewares may do. Copy this file and change it to your taste.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sentry_sdk

from aiotq import Middleware, Reject, Retry

if TYPE_CHECKING:
    from aiotq.hooks import Incoming, RunNext


class Sentry(Middleware):
    """Each run has a scope of its own; an error in it is an event, with the task as its transaction.

    final_only: report only the last attempt, of those that aiotq makes.
    """

    def __init__(self, *, final_only: bool = False) -> None:
        self._final_only = final_only

    async def run(self, job: Incoming, call: RunNext) -> Any:
        """Run it; report what it raises on its own account."""
        current = job.job
        with sentry_sdk.isolation_scope() as scope:
            scope.set_transaction_name(current.task)
            scope.set_tag("aiotq.task", current.task)
            scope.set_tag("aiotq.queue", current.queue)
            scope.set_context(
                "aiotq job",
                {
                    "id": current.id,
                    "attempt": current.attempt,
                    "retries": current.retries,
                    "headers": {**current.headers},
                },
            )
            try:
                return await call(job)
            except (Retry, Reject):  # it was meant
                raise
            except Exception as error:
                if current.last_attempt or not self._final_only:
                    sentry_sdk.capture_exception(error)
                raise
