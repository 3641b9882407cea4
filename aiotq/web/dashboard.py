"""`aiotq_dashboard(app)`: an ASGI app that any service can mount, made of the guard and the pages behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route, Router

from aiotq.errors import UsageError
from aiotq.web import parse
from aiotq.web.access import Access
from aiotq.web.acts import Acts
from aiotq.web.board import Board
from aiotq.web.cookies import Signing
from aiotq.web.errors import BadInput, NotThere
from aiotq.web.guard import Guard
from aiotq.web.hub import Hub
from aiotq.web.live import Live
from aiotq.web.login import Login
from aiotq.web.pages import Pages
from aiotq.web.render import Renderer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from aiotq.app import App
    from aiotq.inspection.desk import Redaction
    from aiotq.web.access import Hook

    Page = Callable[[Request], Awaitable[Response]]

LISTED = ("status", "queue", "task", "error", "since", "until", "cursor", "limit")


class Dashboard:
    """An ASGI app. `aiotq_dashboard` makes one."""

    def __init__(self, app: App, *, access: Access, redact: Redaction | None, title: str | None) -> None:
        inspector = app.inspect if redact is None else app.inspect.redacting(redact)
        renderer = Renderer(
            title=title or app.namespace, read_only=access.read_only, token_login=access.token is not None
        )
        self.hub = Hub()
        board = Board(
            inspector=inspector,
            hub=self.hub,
            renderer=renderer,
            read_only=access.read_only,
            task_names=lambda: tuple(app.tasks),
        )
        acts, login = Acts(board), Login(access, renderer)
        self.running = acts.running
        inner = Router(_routes(board, acts, login), redirect_slashes=False)
        signing = Signing(key=access.key(app.namespace))
        self._guard = Guard(inner, access=access, signing=signing, renderer=renderer)
        acts.guard = login.guard = self._guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._guard(scope, receive, send)


def aiotq_dashboard(
    app: App,
    *,
    token: str | None = None,
    basic: Mapping[str, str] | None = None,
    auth: Hook | None = None,
    read_only: bool = False,
    redact: Redaction | None = None,
    hosts: Collection[str] | None = None,
    title: str | None = None,
) -> Dashboard:
    """The dashboard of an app, as an ASGI app for any service to mount.

    As in `service.mount("/jobs", aiotq_dashboard(app))`. Without token, basic and auth whoever reaches it may do
    anything: then the service around it says who does.

    token: a secret of 16 characters or more that a person types in once. basic: passwords by user. auth: called with
    the ASGI scope of each request, answers who it is (a str; the audit has it) or None: refused; it may be async.
    read_only: it shows all and does nothing. redact: called with a task's name and {"args": [...], "kwargs": {...}},
    returns what is shown of these arguments. hosts: by which names it may be asked; None: by any. title: what stands
    above each page; None: the namespace. Raises UsageError for what can't be right.
    """
    if isinstance(hosts, str):
        raise UsageError(f"hosts={hosts!r} is one str, and a set of names was expected; pass {{{hosts!r}}}")
    access = Access(
        token=token,
        basic=dict(basic or {}),
        hook=auth,
        read_only=read_only,
        hosts=None if hosts is None else frozenset(name.lower() for name in hosts),
    )
    if auth is not None and not callable(auth):
        raise UsageError("auth= can't be called; pass a function that takes the ASGI scope and returns a str or None")
    return Dashboard(app, access=access, redact=redact, title=title)


def _taking(page: Page, *names: str) -> Page:
    """The page, which takes these parameters in its URL, each once. What it does not know is a slip to be told of."""

    async def checked(request: Request) -> Response:
        if len(request.url.query) > parse.LONGEST_QUERY:
            raise BadInput("the query is too long", f"at most {parse.LONGEST_QUERY:,} characters are taken")
        parse.once(request.query_params.multi_items(), names)
        return await page(request)

    return checked


def _routes(board: Board, acts: Acts, login: Login) -> list[Route]:
    pages, live = Pages(board), Live(board)

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        file = board.renderer.files.get(name)
        if file is None:
            raise NotThere("there is no such file")
        kept = {"Cache-Control": "public, max-age=31536000, immutable"}  # its address has a digest of all of them
        return Response(file.content, media_type=file.media_type, headers=kept)

    return [
        Route("/", _taking(pages.overview)),
        Route("/queues", _taking(pages.queues)),
        Route("/queues/{name}", _taking(pages.queue)),
        Route("/jobs", _taking(pages.jobs, *LISTED)),
        Route("/jobs/{job_id}", _taking(pages.job)),
        Route("/find", _taking(pages.find, "q")),
        Route("/failures", _taking(pages.failures, "hours")),
        Route("/dead", _taking(pages.dead, *LISTED)),
        Route("/workers", _taking(pages.workers)),
        Route("/tasks", _taking(pages.tasks, "hours")),
        Route("/server", _taking(pages.server)),
        Route("/audit", _taking(pages.audit, "cursor", "limit")),
        Route("/act", acts.act, methods=["POST"]),
        Route("/events", _taking(live.events, "page", "name", "status")),
        Route("/login", _taking(login.show, "next")),
        Route("/login", login.enter, methods=["POST"]),
        Route("/logout", login.leave, methods=["POST"]),
        Route("/session", login.session),
        Route("/static/{name}", static),
    ]
