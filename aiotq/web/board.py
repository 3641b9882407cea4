"""What all pages share: where they read from, how they are drawn, and what they may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from aiotq.inspector import Inspector
from aiotq.web.errors import what_of
from aiotq.web.hub import Hub
from aiotq.web.render import Renderer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from aiotq.inspection.values import JobDetail, Overview
    from aiotq.web.hub import Seen

OVERVIEW_EVERY_S = 2.0  # 60 minutes of counters, all queues and workers: the dear part of what is live
JOB_EVERY_S = 2.0
AWAY_S = 15.0  # for so long pages take it that the server is away, and don't wait for it: the streams try
CHECKUP_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard."""

    inspector: Inspector
    hub: Hub
    renderer: Renderer
    read_only: bool
    task_names: Callable[[], tuple[str, ...]]  # those that this app registers

    def page(self, request: Request, template: str, **values: Any) -> Response:
        """A page, with how all does above it, if that is known."""
        known = self.hub.last("overview")
        return self.renderer.page(request, template, **({} if known is None else {"o": known}) | values)

    async def seen(self, *, away_s: float | None = None) -> Seen:
        """The overview as it was read last, at most two seconds ago, or while the server is away, whenever that was."""
        return await self.hub.get("overview", self.inspector.overview, fresh_s=OVERVIEW_EVERY_S, away_s=away_s)

    def expect_server(self) -> None:
        """Raise StoreError if the server was away a moment ago: nobody shall wait for what fails."""
        away = self.hub.away("overview", within_s=AWAY_S)
        if away is not None:
            raise away

    async def overview(self) -> tuple[Overview, str | None]:
        """The same, and why it is old, if it is. Raises StoreError if nothing was ever read."""
        seen = await self.seen(away_s=AWAY_S)
        return seen.known(), away_text(seen)

    async def moves(self, job_id: str) -> Seen:
        """Of a job, in the same way, what changes while one looks: without arguments and result. Raises JobNotFound."""
        read = partial(self.inspector.job, job_id, values=False, texts=False)
        return await self.hub.get(f"moves:{job_id}", read, fresh_s=JOB_EVERY_S)

    async def job(self, job_id: str) -> tuple[JobDetail, str | None]:
        """A job, and why it is old, if it is. Raises JobNotFound, UsageError."""
        # A look notices in half a second that nobody listens, where a read of a job would wait for seconds.
        away, last = (await self.seen(away_s=AWAY_S)).away, self.hub.last(f"job:{job_id}")
        if away is not None:
            if last is None:
                raise away
            return last, what_of(away)
        # As text alone: the values of a large job would hold up the loop that all who look share.
        read = partial(self.inspector.job, job_id, values=False)
        seen = await self.hub.get(f"job:{job_id}", read, fresh_s=JOB_EVERY_S, away_s=AWAY_S)
        return seen.known(), away_text(seen)


def away_text(seen: Seen) -> str | None:
    """What the banner says."""
    return None if seen.away is None else what_of(seen.away)
