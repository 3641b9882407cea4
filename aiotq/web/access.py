"""Who may come in, and what the pages may do: the settings of a dashboard, checked."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiotq.errors import UsageError

Scope: TypeAlias = MutableMapping[str, Any]
Hook: TypeAlias = Callable[[Scope], str | Awaitable[str | None] | None]

SHORTEST_TOKEN = 16  # characters: then nobody guesses it, however often he may ask
LONGEST_CREDENTIALS = 1024  # characters of a header or a field that are looked at
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})

log = logging.getLogger("aiotq.web")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may come in. Without token, basic and hook: whoever reaches it; the service around it has to see to that."""

    token: str | None = field(default=None, repr=False)  # a secret that a person types in, or a program sends as Bearer
    basic: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)  # passwords by user
    hook: Hook | None = None  # gets the ASGI scope; answers who it is, or None: refused
    read_only: bool = False  # no act at all
    hosts: frozenset[str] | None = None  # by which names it may be asked (DNS rebinding); None: by any

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise UsageError(
                f"the token has {len(self.token)} characters, and {SHORTEST_TOKEN} or more were expected; "
                'make one: python -c "import secrets; print(secrets.token_urlsafe())"'
            )
        if any(not user or ":" in user or not password for user, password in self.basic.items()):
            raise UsageError("basic= has an empty user or password, or a user with a colon; pass {'ada': 'a password'}")
        if sum((self.token is not None, bool(self.basic), self.hook is not None)) > 1:
            raise UsageError(
                "more than one of token, basic and auth was given; one was expected, as all would be asked"
            )

    @property
    def guarded(self) -> bool:
        """Whether it looks at who comes."""
        return self.token is not None or bool(self.basic) or self.hook is not None

    def is_token(self, given: str) -> bool:
        """Whether that is the token; in constant time."""
        return self.token is not None and _same(given[:LONGEST_CREDENTIALS], self.token)

    def user(self, authorization: str) -> str | None:
        """Who a header `Authorization: Basic ...` is of; None: nobody. All passwords are compared, in constant time."""
        kind, _, encoded = authorization[:LONGEST_CREDENTIALS].partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        found = [known for known, right in self.basic.items() if _same(user, known) & _same(password, right)]
        return found[0] if found else None

    async def ask_hook(self, scope: Scope) -> str | None:
        """What the hook says; one that fails lets nobody in."""
        if self.hook is None:
            return None
        try:
            said = self.hook(scope)
            if inspect.isawaitable(said):
                said = await said
        except Exception:
            log.exception("the auth hook failed, so nobody was let in; it gets the ASGI scope and answers who it is")
            return None
        if said is None or isinstance(said, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            return said or None
        log.error("the auth hook answered %s; who it is (a str) or None was expected, so nobody was let in", type(said))
        return None

    def key(self, namespace: str) -> bytes:
        """What cookies and forms are signed with: the same in each process of a service, another with other secrets.

        Whoever has not come in yet sees what is made of it, as the names of cookies: so that he can't try passwords on
        that at home, each try costs 16 MiB and tens of milliseconds. Without secrets there is nothing to try, and what
        is signed is random: a form's seed, which only its own browser knows.
        """
        secrets = [self.token or "", *(f"{user}:{word}" for user, word in sorted(self.basic.items())), namespace]
        text, salt = "\0".join(secrets).encode(), b"aiotq dashboard"
        if self.token is None and not self.basic:
            return hashlib.sha256(salt + text).digest()
        return hashlib.scrypt(text, salt=salt, n=1 << 14, r=8, p=1, dklen=32)


def _same(given: str, right: str) -> bool:
    """Compared by their hashes, so that not even the length shows."""
    return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(right.encode()).digest())
