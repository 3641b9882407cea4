"""Cookies that nobody else can have written: the session, the form token's seed, and the word after an act."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

SESSION_S = 7 * 86_400
MOST_ENDED = 10_000  # sessions; whoever can begin and end so many knows the token, and needs no old cookie
LONGEST = 64 << 10  # characters of a cookie header that are looked at: a machine's other pages may have many


def _now_s() -> float:
    return datetime.now(UTC).timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """Signs with a key. now_s: Unix seconds."""

    key: bytes = field(repr=False)
    now_s: Callable[[], float] = _now_s
    ended: dict[str, None] = field(default_factory=dict[str, None], repr=False)  # sessions, in this process

    def seal(self, purpose: str, text: str) -> str:
        """A text that `opened` gives back, in characters that a cookie may have."""
        body = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        return f"{body}.{self._mac(purpose, body)}"

    def opened(self, purpose: str, sealed: str) -> str | None:
        """The text, or None if it was not sealed here for that purpose."""
        body, _, mac = sealed.partition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(purpose, body).encode()):
            return None
        try:
            return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()
        except (binascii.Error, ValueError):  # pragma: no cover  what was sealed opens
            return None

    def new_session(self) -> str:
        """What the browser of a person keeps who knew the token. The token is not in it."""
        return self.seal("session", f"{self.now_s():.0f} {secrets.token_urlsafe(12)}")

    def end_session(self, cookie: str) -> None:
        """Have it be none from now on, though somebody may have kept it."""
        if self.is_session(cookie):
            self.ended[cookie] = None
            if len(self.ended) > MOST_ENDED:
                del self.ended[next(iter(self.ended))]

    def is_session(self, cookie: str) -> bool:
        """Whether it is one, not too old, and not ended."""
        text = None if cookie in self.ended else self.opened("session", cookie)
        return text is not None and 0 <= self.now_s() - float(text.split(" ")[0]) + 60 <= SESSION_S

    def form_token(self, seed: str, session: str) -> str:
        """What each form of this browser has to carry."""
        return self._mac("form", f"{seed} {session}")

    def _mac(self, purpose: str, body: str) -> str:
        made = hmac.new(self.key, f"{purpose}\0{body}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(made).decode().rstrip("=")

    @property
    def prefix(self) -> str:
        """What the names begin with: of two dashboards on one host (at two ports) each keeps its own."""
        return f"aiotq_{hashlib.sha256(self.key).hexdigest()[:8]}_"


def read(header: str) -> dict[str, str]:
    """The cookies of a request."""
    pairs = (part.strip().partition("=") for part in header[:LONGEST].split(";"))
    return {name: value for name, _, value in pairs if name}


def written(name: str, value: str, *, path: str, secure: bool, same_site: str, max_age_s: int | None = None) -> str:
    """A Set-Cookie header."""
    kept = "" if max_age_s is None else f"; Max-Age={max_age_s}"
    return f"{name}={value}; Path={path}; HttpOnly; SameSite={same_site}{kept}{'; Secure' if secure else ''}"


def new_seed() -> str:
    """A random word."""
    return secrets.token_urlsafe(18)
