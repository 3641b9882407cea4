"""From a URL to the options of redis-py's connection, checked before anything is dialled."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.exceptions import RedisError

from aiotq.errors import UsageError
from aiotq.store.connection import tls
from aiotq.store.connection.handshake import Route
from aiotq.store.url import SHOWN, redact

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

SCHEMES = (
    "redis://",
    "rediss://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "unix://",
    "embedded://",
    "memory://",
)
FORM = "redis://[[user]:password@]host[:port][/db][?name=value&...]"
# Of redis-py's pools and retries, and of what each connection of aiotq sets by itself: no harm, and no effect.
_OF_NO_USE = frozenset(
    {
        "decode_responses", "encoding", "encoding_errors", "health_check_interval", "max_connections", "protocol",
        "retry_on_timeout", "socket_connect_timeout", "socket_read_size", "socket_timeout", "socket_type", "timeout",
    }
)  # fmt: skip
_SECRET = frozenset({"password", "sentinel_password", "ssl_ca_data", "ssl_password"})
_KNOWN = SHOWN | _SECRET
OF_SENTINELS = frozenset({"sentinel_username", "sentinel_password"})
_CERT_REQS = ("required", "optional", "none")
_BREAKS = re.compile(r"[\t\r\n]")  # redis-py reads over them
_NUMBER = re.compile(r"\d{1,9}")
_PORT = re.compile(r":([^:\]]*)$")  # behind a name, or an address in brackets


def route(url: str, *, limit_s: float) -> Route:
    """How to connect to a redis://, rediss:// or unix:// URL. Raises UsageError for one that can't be right."""
    url = _BREAKS.sub("", url).strip()  # as a file, or a shell, may have left at its end
    if "://" not in url:
        scheme = "unix://" if url.startswith("/") else "redis://"
        meant = redact(f"{scheme}{url}")
        raise UsageError(f"the URL {meant.removeprefix(scheme)!r} has no scheme; did you mean {meant}?")
    if not url.startswith(SCHEMES):
        raise UsageError(
            f"the URL {redact(url)!r} is not one that aiotq knows; it starts with one of {', '.join(SCHEMES)}"
        )
    _check(url)
    kind, options = read(url, url)
    for name in OF_SENTINELS & options.keys():
        raise wrong(url, f"{name} is for redis+sentinel://")
    return checked(Route(kind=kind, options=options, url=redact(url), limit_s=limit_s), url)


def _check(url: str) -> None:
    """Refuse what redis-py takes for something else without a word: a path that is none, a port that can't be."""
    head, _, query = url.partition("#")[0].partition("?")
    scheme, _, rest = head.partition("://")
    authority, slash, path = rest.partition("/")
    place = authority.rpartition("@")[2]
    for value in parse_qs(query).get("db", []):
        if not _NUMBER.fullmatch(value):
            raise wrong(url, "db is the number of a database")
    if scheme == "unix":
        if place or not path:
            raise wrong(url, "it needs the whole path of a socket, from the root, as in unix:///run/redis.sock")
        return
    port = _PORT.search(place)
    if port is not None and port[1] and not (port[1].isdecimal() and 0 < int(port[1]) < 1 << 16):
        raise wrong(url, f"what follows the host is a port, 1 to 65535, as in {FORM}")
    if slash and path.strip("/") and not _NUMBER.fullmatch(path.rstrip("/")):
        raise wrong(url, f"what follows the / is the number of a database, as in {FORM}")


def read(url: str, given: str, *, form: str = FORM) -> tuple[type[AbstractConnection], dict[str, Any]]:
    """What redis-py makes of a URL. given: the one that the user wrote. Raises UsageError."""
    options: dict[str, Any] | None = None
    try:
        options = dict(parse_url(url))
    except ValueError:
        pass  # not quoted: it may hold a part of a password
    if options is None:
        raise UsageError(
            f"the URL {redact(given)!r} can't be read; expected {form}; "
            "write special characters of a password as %40 for @"
        )
    kind: type[AbstractConnection] = options.pop("connection_class", Connection)
    for name in options.keys() - _KNOWN - {"host", "port", "path"}:
        near = get_close_matches(name, sorted(_KNOWN), n=1)
        guess = f"did you mean {near[0]}?" if near else f"it knows {', '.join(sorted(_KNOWN - _OF_NO_USE))}"
        raise wrong(given, f"{name!r} is no parameter that aiotq knows; {guess}")
    options = {name: value for name, value in options.items() if name not in _OF_NO_USE}
    if issubclass(kind, SSLConnection):
        options = tls.verified(options)
        if options["ssl_cert_reqs"] not in _CERT_REQS:
            raise wrong(given, f"ssl_cert_reqs is one of {', '.join(_CERT_REQS)}")
    elif any(name.startswith("ssl_") for name in options):
        raise wrong(given, "parameters that begin with ssl_ are for rediss:// and rediss+sentinel://")
    return kind, options


def checked(route: Route, url: str) -> Route:
    """The same route, if redis-py takes its options. Raises UsageError."""
    try:
        route.made()
    except (TypeError, ValueError, RedisError):
        pass
    except OSError:  # redis-py reads a file there, and no descriptor may be left: no word against the options
        return route
    else:
        return route
    raise wrong(url, "redis-py does not take its parameters together")


def wrong(url: str, what: str) -> UsageError:
    """A URL that can't be right, and why."""
    return UsageError(f"the URL {redact(url)!r} can't be used: {what}; correct the URL")
