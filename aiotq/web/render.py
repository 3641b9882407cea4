"""Templates to pages. All are compiled when the dashboard is made, so that no visitor waits for it."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from starlette.responses import HTMLResponse, Response

from aiotq.inspection.pasting import command
from aiotq.job import JobStatus
from aiotq.version import __version__
from aiotq.web import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from aiotq.web.errors import Refusal
    from aiotq.web.visit import Visit

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
NAVIGATION = (
    ("overview", "", "Overview"),
    ("queues", "queues", "Queues"),
    ("jobs", "jobs", "Jobs"),
    ("failures", "failures", "Failures"),
    ("dead", "dead", "Dead letters"),
    ("workers", "workers", "Workers"),
    ("tasks", "tasks", "Tasks"),
    ("server", "server", "Server"),
    ("audit", "audit", "Audit"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that browsers fetch."""

    content: bytes
    media_type: str


class Renderer:
    """All templates and static files of the package, in memory."""

    def __init__(self, *, title: str, read_only: bool, token_login: bool) -> None:
        self.files, digest, self._templates = _loaded()
        self._known = {"title": title, "read_only": read_only, "token_login": token_login, "digest": digest}

    def text(self, template: str, values: Mapping[str, Any]) -> str:
        """A template with its values."""
        return self._templates[template].render({**self._known, **values})

    def page(
        self, request: Request, template: str, *, status: int = 200, live: str | None = None, **values: Any
    ) -> Response:
        """A whole page. live: what its stream of events is asked for; None: what stands above each page, alone."""
        visit: Visit = request.scope["aiotq.visit"]
        return self._html(template, visit, values, status=status, live=live or "page=none", headers={})

    def message(self, visit: Visit, refusal: Refusal, headers: Mapping[str, str], *, again: bool) -> Response:
        """The page that says why there is no other."""
        live = "page=none" if visit.who else None  # it also tells when the server is back
        values = {"refusal": refusal, "again": again}
        return self._html("message.html", visit, values, status=refusal.status, live=live, headers=headers)

    def _html(
        self,
        template: str,
        visit: Visit,
        values: Mapping[str, Any],
        *,
        status: int,
        live: str | None,
        headers: Mapping[str, str],
    ) -> Response:
        known = {"visit": visit, "base": visit.base, "live": live, "active": None, "away": None, **values}
        return HTMLResponse(self.text(template, known), status_code=status, headers=dict(headers))


@functools.cache
def _loaded() -> tuple[dict[str, File], str, dict[str, jinja2.Template]]:
    """The files, a digest of them all, and the templates, compiled once a process."""
    files = _files()
    digest = hashlib.sha256(b"".join(file.content for _, file in sorted(files.items()))).hexdigest()[:10]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("aiotq.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters: dict[str, Any] = environment.filters  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    filters |= {
        "ago": words.ago,
        "badge": words.badge,
        "bytes": words.bytes_,
        "duration": words.duration,
        "instant": words.instant,
        "json": words.jsonable,
        "number": words.number,
        "priorities": words.priorities,
        "short": words.short,
        "wrapped": words.wrapped,
    }
    known: dict[str, Any] = environment.globals  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    known |= {"navigation": NAVIGATION, "query": words.query, "statuses": tuple(JobStatus), "version": __version__}
    known["command"] = command
    names = [name for name in environment.list_templates() if name.endswith(".html")]
    return files, digest, {name: environment.get_template(name) for name in names}


def _files() -> dict[str, File]:
    folder = resources.files("aiotq.web") / "static"
    found = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
    return {
        name: File(content=content, media_type=TYPES[f".{name.rpartition('.')[2]}"]) for name, content in found.items()
    }
