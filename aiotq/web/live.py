"""What changes by itself: a stream of events for each viewer, all of them fed by the hub's one reader.

An event `parts` carries HTML by the id of what it replaces, only what has changed since the last one; `charts` the
series; `away` that the server is away, and `back` that it is here again; `reload` that the whole page is another now.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from aiotq import checks
from aiotq.errors import JobNotFound
from aiotq.web import charts
from aiotq.web.board import OVERVIEW_EVERY_S, away_text
from aiotq.web.errors import BadInput, NotThere, Refusal
from aiotq.web.pages import queue_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from aiotq.inspection.values import Overview
    from aiotq.web.board import Board
    from aiotq.web.hub import Seen

# A server that stops waits for its streams, and ours can't know that it stops: so they are short, and begin again.
STREAM_S = 20.0
MAX_STREAMS = 200
RETRY_MS = 1000
PARTS = {
    "none": ("pulse",),
    "overview": ("pulse", "findings", "tiles", "queues", "workers", "failures"),
    "queues": ("pulse", "queues"),
    "queue": ("pulse", "queue"),
    "workers": ("pulse", "crew"),
    "job": ("pulse",),
}


class Live:
    """The streams."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._drawn: dict[tuple[str, str], str] = {}  # of the snapshot `_number`, by base and part
        self._number = -1
        self.streams = 0

    async def events(self, request: Request) -> Response:
        """Begin one."""
        page, name = request.query_params.get("page", "none"), request.query_params.get("name", "")
        if page not in PARTS:
            raise BadInput(f"page={checks.shown(page)} has no events", f"there are {', '.join(PARTS)}")
        if page == "queue":
            checks.queue("name", name)
        if page == "job":
            checks.job_id("name", name)
        if self.streams >= MAX_STREAMS:
            raise Refusal(503, f"{MAX_STREAMS} pages are open already", "this one shows what was when it was loaded")
        viewer = _Viewer(page, name, request.query_params.get("status", ""), request.scope["aiotq.visit"].base)
        # Who asks for the headers alone would wait for the end of a stream, and hold one of those that there are.
        news = _nothing() if request.method == "HEAD" else self._stream(viewer)
        return StreamingResponse(news, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def _stream(self, viewer: _Viewer) -> AsyncGenerator[str]:
        self.streams += 1
        try:
            yield f"retry: {RETRY_MS}\n\n"
            loop = asyncio.get_running_loop()
            until = loop.time() + STREAM_S
            while not self._board.hub.closed and loop.time() < until:
                for event in await self._news(viewer):
                    yield event
                yield ": still here\n\n"  # so that a viewer who has gone is noticed
                await self._board.hub.pause(OVERVIEW_EVERY_S)
        finally:
            self.streams -= 1

    async def _news(self, viewer: _Viewer) -> list[str]:
        seen = await self._board.seen()
        events = viewer.told_of_away(seen)
        if seen.value is not None and seen.away is None:
            parts = self._parts(viewer, seen)
            if viewer.page == "job":
                events += await self._job(viewer, parts)
            events += viewer.told("parts", parts)
            if viewer.page == "overview":
                events += viewer.told("charts", {"series": charts.series(seen.value.minutes)})
        return events

    def _parts(self, viewer: _Viewer, seen: Seen) -> dict[str, str]:
        """What the overview shows, drawn once for all viewers."""
        if seen.number != self._number:
            self._drawn.clear()
            self._number = seen.number
        return {f"live-{part}": self._part(viewer, part, seen.value) for part in PARTS[viewer.page]}

    def _part(self, viewer: _Viewer, part: str, overview: Overview) -> str:
        values: dict[str, Any] = {"o": overview, "base": viewer.base}
        if part == "queue":
            try:
                values["queue"] = queue_of(overview.queues, viewer.name)
            except NotThere:
                return "<p>This queue is no longer there.</p>"
            return self._board.renderer.text("parts/queue.html", values)
        key = (viewer.base, part)
        if key not in self._drawn:
            self._drawn[key] = self._board.renderer.text(f"parts/{part}.html", values)
        return self._drawn[key]

    async def _job(self, viewer: _Viewer, parts: dict[str, str]) -> list[str]:
        try:
            seen = await self._board.moves(viewer.name)
        except JobNotFound:
            return viewer.told("reload", {"why": "gone"})
        if seen.value is None:
            return viewer.told_of_away(seen)
        job = seen.value
        values = {"job": job, "base": viewer.base}
        for part in ("progress", "timeline", "logs"):
            parts[f"live-{part}"] = self._board.renderer.text(f"parts/{part}.html", values)
        moved = job.summary.status.value != viewer.status
        return viewer.told("reload", {"why": job.summary.status.value}) if moved else []


class _Viewer:
    """One open page, and what it has been told."""

    def __init__(self, page: str, name: str, status: str, base: str) -> None:
        self.page, self.name, self.status, self.base = page, name, status, base
        self._told: dict[str, dict[str, Any]] = {}
        self._away: bool | None = None

    def told(self, event: str, values: dict[str, Any]) -> list[str]:
        """The event with what is new in it; none if nothing is."""
        before = self._told.setdefault(event, {})
        news = {name: value for name, value in values.items() if before.get(name) != value}
        before |= news
        return [_event(event, news)] if news else []

    def told_of_away(self, seen: Seen) -> list[str]:
        """That the server is away, or here again, if that is news."""
        away = away_text(seen)
        if (away is not None) is self._away:
            return []
        self._away = away is not None
        return [_event("back", {}) if away is None else _event("away", {"why": away})]


async def _nothing() -> AsyncGenerator[str]:
    for event in ():
        yield event


def _event(name: str, values: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(values, separators=(',', ':'))}\n\n"
