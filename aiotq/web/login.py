"""Saying who one is, where a token guards the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response

from aiotq.web import parse
from aiotq.web.cookies import SESSION_S
from aiotq.web.errors import NotThere

if TYPE_CHECKING:
    from starlette.requests import Request

    from aiotq.web.access import Access
    from aiotq.web.guard import Guard
    from aiotq.web.render import Renderer
    from aiotq.web.visit import Visit


class Login:
    """The page with the one field, and the way out."""

    def __init__(self, access: Access, renderer: Renderer) -> None:
        self._access, self._renderer = access, renderer
        self.guard: Guard | None = None  # which sets cookies; it is made around this

    async def show(self, request: Request) -> Response:
        """Ask for the token."""
        self._must_ask()
        return self._page(request, request.query_params.get("next"), wrong=False)

    async def enter(self, request: Request) -> Response:
        """Look at the token, and go to where one wanted to go."""
        guard = self._must_ask()
        visit: Visit = request.scope["aiotq.visit"]
        parse.once(visit.form, ("csrf", "next", "token"))
        wanted = visit.field("next")
        if not self._access.is_token(visit.field("token") or ""):
            return self._page(request, wanted, wrong=True)
        guard.set_cookie(visit, "session", guard.new_session(), max_age_s=SESSION_S)
        return RedirectResponse(parse.next_path(wanted, visit.base), status_code=303)

    async def leave(self, request: Request) -> Response:
        """Forget who one is."""
        guard = self._must_ask()
        visit: Visit = request.scope["aiotq.visit"]
        guard.end_session(request.headers)
        guard.set_cookie(visit, "session", "", max_age_s=0)
        return RedirectResponse(f"{visit.base}/login", status_code=303)

    async def session(self, request: Request) -> Response:
        """Whether this browser has said it already: a link from elsewhere brings no cookie, a look of a page does."""
        known = self.guard is not None and self.guard.has_session(request.headers)
        return Response(status_code=204 if known else 401)

    def _page(self, request: Request, wanted: str | None, *, wrong: bool) -> Response:
        wanted = parse.next_path(wanted, "")  # as the address of another site would only mislead
        return self._renderer.page(request, "login.html", status=401 if wrong else 200, wanted=wanted, wrong=wrong)

    def _must_ask(self) -> Guard:
        if self._access.token is None or self.guard is None:
            raise NotThere("nobody logs in here", "no token guards this dashboard")
        return self.guard
