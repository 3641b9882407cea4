"""Before any page: it is asked by a right name, one knows by whom, and acts come from forms of our own.

All requests pass here, so that no page and no act can forget it. It gives the pages a `Visit`.
"""

from __future__ import annotations

import hmac
import logging
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response

from aiotq.inspection.audit import MAX_BY, plain
from aiotq.web import cookies
from aiotq.web.errors import BadInput, Refusal, refusal_of
from aiotq.web.visit import Visit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from aiotq.web.access import Access
    from aiotq.web.cookies import Signing
    from aiotq.web.render import Renderer

MAX_BODY = 256 << 10  # bytes of a form: 500 ids of 128 characters take 70 KiB
MAX_FIELDS = 600
READS = ("GET", "HEAD")
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HOST = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]+)|\[(?P<address>[0-9A-Fa-f:.]+)\])(?::\d{1,5})?")
IN_PATHS = "/!$&'()*+,=:@~"  # what browsers leave as it is in a path; but ";", which ends a cookie's
OPEN = ("/static/", "/login", "/session")  # what can be had before one has said who one is

log = logging.getLogger("aiotq.web")


class Guard:
    """The outermost part of the dashboard."""

    def __init__(self, inner: ASGIApp, *, access: Access, signing: Signing, renderer: Renderer) -> None:
        self._inner, self._access, self._signing, self._renderer = inner, access, signing, renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":  # no lifespan of its own, and a websocket that is left unanswered is refused
            return
        visit = self._visit(scope)
        # What fails here is told here, and not by the handlers that the service around it may have.
        # The pages read their paths as this guard does: without a slash at the end of what they are mounted at.
        scope = {**scope, "root_path": _root(scope), "aiotq.visit": visit, "app": self}
        scope["starlette.exception_handlers"] = ({}, {})
        begun = False

        async def told(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                for cookie in visit.said:
                    headers.append("Set-Cookie", cookie)
            await send(message)

        try:
            answer = await self._checked(scope, receive, visit)
            await (answer or self._inner)(scope, receive, told)
        except ClientDisconnect:
            return
        except Exception as error:
            if begun:
                raise
            await self._message(error, visit, scope["method"])(scope, receive, told)

    # --- the checks ---------------------------------------------------------------------------------------------

    async def _checked(self, scope: Scope, receive: Receive, visit: Visit) -> Response | None:
        """What is answered instead of the page; None: the page may answer. Raises Refusal."""
        headers = Headers(scope=scope)
        self._check_host(headers)
        _check_query(scope)
        path = _path(scope)
        answer = None
        if not path.startswith(OPEN):
            answer = await self._who(scope, headers, visit, path)
        if answer is None and scope["method"] not in READS:
            await self._take_form(scope, receive, headers, visit)
        return answer

    def _check_host(self, headers: Headers) -> None:
        """A page of a stranger's, whose name now leads here (DNS rebinding), comes by that name."""
        host = headers.get("host", "")
        found = HOST.fullmatch(host)
        name = "" if found is None else (found["name"] or found["address"]).lower()
        if self._access.hosts is not None and name not in self._access.hosts:
            raise Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this dashboard is not to be asked by the name {host[:100]!r}",
                f"it knows {', '.join(sorted(self._access.hosts))}; start it with --allow-host for another one",
            )

    async def _who(self, scope: Scope, headers: Headers, visit: Visit, path: str) -> Response | None:
        """Find out who asks; the answer that sends him to where he can say it. Raises Refusal."""
        access, authorization = self._access, headers.get("authorization", "")
        if not access.guarded:
            client = scope.get("client")
            visit.who = _signature(client[0] if client else "somebody")
            return None
        if access.token is not None:
            if self._signing.is_session(self._cookie(headers, "session")) or _bearer(access, authorization):
                visit.who = "token (dashboard)"
                return None
            if scope["method"] in READS and "text/html" in headers.get("accept", ""):
                asked = path + (f"?{scope['query_string'].decode('latin-1')}" if scope.get("query_string") else "")
                return RedirectResponse(f"{visit.base}/login?next={quote(asked, safe='/')}", status_code=303)
            raise Refusal(
                401, "log in", "on the page /login with the token, or send the header Authorization: Bearer TOKEN"
            )
        user = access.user(authorization) if access.basic else await access.ask_hook(scope)
        if user is None and access.basic:
            raise Refusal(401, "nobody here has that name and password", "log in as one of the users of --basic")
        if user is None:
            raise Refusal(403, "you may not look at this", "the service's own auth hook says who may")
        visit.who = _signature(user)
        return None

    async def _take_form(self, scope: Scope, receive: Receive, headers: Headers, visit: Visit) -> None:
        """Read what was posted, if it comes from one of our own pages. Raises Refusal."""
        if scope["method"] != "POST":
            raise Refusal(405, f"{scope['method'][:20]} is nothing that a page here takes", "GET and POST are")
        _check_origin(headers)
        if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            raise Refusal(415, "that is no form", "application/x-www-form-urlencoded was expected")
        body = await _body(receive)
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError:
            raise BadInput("the form can't be read", f"UTF-8 and at most {MAX_FIELDS} fields were expected") from None
        visit.form = tuple(pairs)
        given = headers.get("x-csrf-token") or visit.field("csrf") or ""
        if not hmac.compare_digest(given.encode(), visit.form_token.encode()):
            raise Refusal(403, "the form is not from a page of this browser, or from an old one", "load the page anew")

    # --- the visit ----------------------------------------------------------------------------------------------

    def _visit(self, scope: Scope) -> Visit:
        base, secure = quote(_root(scope), safe=IN_PATHS), scope.get("scheme") == "https"
        headers = Headers(scope=scope)
        seed, said = self._cookie(headers, "form"), list[str]()
        path = base or "/"
        if not seed:
            seed = cookies.new_seed()
            # Lax: with Strict, whoever follows a link to here would get a new one, and his other pages were old.
            said.append(cookies.written(self._name("form"), seed, path=path, secure=secure, same_site="Lax"))
        flash = self._signing.opened("flash", self._cookie(headers, "flash"))
        if flash is not None and "text/html" in headers.get("accept", ""):
            gone = cookies.written(self._name("flash"), "", path=path, secure=secure, same_site="Strict", max_age_s=0)
            said.append(gone)
        return Visit(
            base=base,
            who="",
            form_token=self._signing.form_token(seed, self._cookie(headers, "session")),
            secure=secure,
            flash=flash,
            said=said,
        )

    def set_cookie(self, visit: Visit, name: str, value: str, *, max_age_s: int | None = None) -> None:
        """Have the answer set a cookie that only this site's own requests bring back."""
        path = visit.base or "/"
        visit.said.append(
            cookies.written(
                self._name(name), value, path=path, secure=visit.secure, same_site="Strict", max_age_s=max_age_s
            )
        )

    def sealed(self, purpose: str, text: str) -> str:
        """A text for a cookie that nobody else can have written."""
        return self._signing.seal(purpose, text)

    def new_session(self) -> str:
        """What the browser of a person keeps who knew the token."""
        return self._signing.new_session()

    def end_session(self, headers: Headers) -> None:
        """Have a request's cookie open nothing any more, whoever keeps it."""
        self._signing.end_session(self._cookie(headers, "session"))

    def has_session(self, headers: Headers) -> bool:
        """Whether a request's cookie is such a one."""
        return self._signing.is_session(self._cookie(headers, "session"))

    def _name(self, name: str) -> str:
        return self._signing.prefix + name

    def _cookie(self, headers: Headers, name: str) -> str:
        return cookies.read(headers.get("cookie", "")).get(self._name(name), "")

    def _message(self, error: Exception, visit: Visit, method: str) -> Response:
        """The page that says it."""
        refusal = refusal_of(error, acting=method not in READS)
        if refusal is None:
            log.error("a page failed, by a mistake in aiotq; please report it", exc_info=error)
            refusal = Refusal(
                500, "this page failed, by a mistake in aiotq", "its log has the traceback; please report it"
            )
        headers = {"WWW-Authenticate": 'Basic realm="aiotq", charset="UTF-8"'} if self._asks_basic(refusal) else {}
        again = refusal.passes and method in READS  # what was posted is not posted again by itself
        return self._renderer.message(visit, refusal, headers, again=again)

    def _asks_basic(self, refusal: Refusal) -> bool:
        return refusal.status == HTTPStatus.UNAUTHORIZED and bool(self._access.basic)


def _signature(name: str) -> str:
    """As who acts stands in the audit: whatever a hook, a password file or a proxy calls him, it can be kept."""
    where = " (dashboard)"
    return plain(name, most=MAX_BY - len(where)) + where


def _check_query(scope: Scope) -> None:
    """Whoever reads the URL decodes it: what can't be is told here, once for all pages."""
    try:
        scope.get("query_string", b"").decode()
    except UnicodeDecodeError:
        hint = "what is no ASCII stands there in UTF-8, percent-encoded, as in %C3%A9"
        raise BadInput("the query is no UTF-8", hint) from None


def _check_origin(headers: Headers) -> None:
    """A browser says where a form comes from; another site's is refused even if it had the token."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        raise Refusal(403, f"the form comes from another site ({site[:20]})", "use the pages of this dashboard")
    if site is None and origin is not None and urlsplit_host(origin) != headers.get("host", ""):
        raise Refusal(
            403,
            f"the form comes from {origin[:100]}, and this is {headers.get('host', '')[:100]}",
            "use the pages of this dashboard; a proxy before it has to pass the header Host on",
        )


def urlsplit_host(origin: str) -> str:
    """The host, with its port, of an origin; empty for one that is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _bearer(access: Access, authorization: str) -> bool:
    kind, _, given = authorization.partition(" ")
    return kind.lower() == "bearer" and access.is_token(given.strip())


def _root(scope: Scope) -> str:
    """The place where the dashboard is mounted: decoded, as all that is read from a scope."""
    root: str = scope.get("root_path", "")
    return root.rstrip("/")


def _path(scope: Scope) -> str:
    """The path below that place, as the router reads it."""
    path: str = scope["path"]
    base = _root(scope)
    if base and path == base:
        return ""
    return path[len(base) :] if base and path.startswith(f"{base}/") else path


async def _body(receive: Receive) -> bytes:
    """All of it, but no more than a form of ours can have. Raises Refusal."""
    parts = bytearray()
    while True:
        message: dict[str, Any] = dict(await receive())
        if message["type"] == "http.disconnect":
            raise BadInput("the form broke off")
        parts += message.get("body", b"")
        if len(parts) > MAX_BODY:
            raise Refusal(413, "the form is too large", f"at most {MAX_BODY:,} bytes are taken")
        if not message.get("more_body"):
            return bytes(parts)
