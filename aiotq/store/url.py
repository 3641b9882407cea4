"""URLs, as they may be shown."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit

HIDDEN = "***"
_SECRETS = frozenset({"password", "ssl_password", "sentinel_password"})


def redact(url: str) -> str:
    """The URL without any password, for logs, banners and errors. Never raises."""
    try:
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        name, colon, _ = user.partition(":")
        netloc = f"{name}{colon and colon + HIDDEN}{at}{host}"
        query = urlencode(
            [(key, HIDDEN if key in _SECRETS else value) for key, value in parse_qsl(parts.query)],
            quote_via=quote,
            safe="*/",
        )
        return f"{parts.scheme}://{netloc}{parts.path}{query and '?'}{query}"
    except ValueError:
        return f"{url.partition(':')[0]}://{HIDDEN}"
