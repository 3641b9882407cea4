"""TLS: verified unless the URL says otherwise, and then it is said aloud; what a failed handshake comes to."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import SSLConnection

from aiotq.errors import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio.connection import AbstractConnection

log = logging.getLogger("aiotq.store.connection.tls")

MOST_CONTEXTS = 8
# redis-py before 6 does not check the host name by itself.
VERIFIED = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
_NOT_VERIFIED = (
    "the server's certificate is not verified (ssl_cert_reqs=none), so whoever stands between may pose as it; "
    "name its CA instead: ssl_ca_certs=/path/to/ca.pem"
)
_NOT_CHECKED = (
    "the host name is not checked (ssl_check_hostname=false), so any server with a certificate of the same CA may pose "
    "as it; have the certificate name this host instead"
)
_said: set[str] = set()
_contexts: dict[tuple[str, ...], ssl.SSLContext] = {}  # by what they are made of
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")
_HOST_NAME = (62, 64)  # OpenSSL's numbers: the certificate is not for this name, for this address
_DATES = (9, 10)  # it is not valid yet, not any more
_UNKNOWN_CA = (18, 19, 20, 21)  # self-signed, or its CA is not among those that are trusted here


def verified(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a URL with all that they leave out set to the safe side."""
    complete = {**VERIFIED, **options}
    if complete["ssl_cert_reqs"] == "none":
        complete["ssl_check_hostname"] = False  # nothing would hold the name that is checked
    return complete


def warn_once(options: Mapping[str, Any], *, url: str) -> None:
    """Say, once a process and URL, that a connection is not safe from whoever stands between."""
    if url in _said or "ssl_cert_reqs" not in options:
        return
    _said.add(url)
    if options["ssl_cert_reqs"] == "none":
        told = _NOT_VERIFIED
    elif not options["ssl_check_hostname"]:
        told = _NOT_CHECKED
    else:
        return
    log.warning("%s: %s", url, told, extra={"event": "tls_unverified", "url": url})


async def load(connection: AbstractConnection, *, url: str) -> None:
    """Read the certificates, if that has not been done or if their files have changed since.

    Raises StoreUnusable for files that can't be used. Cost: 40 ms in a thread, for all the CAs of the system.
    """
    if not isinstance(connection, SSLConnection):
        return
    asked: Any = connection.ssl_context
    error: Exception | None = None
    try:
        stamp = _stamp(asked)
        if stamp in _contexts:
            asked.context = _contexts[stamp]
        else:
            context: ssl.SSLContext = await asyncio.to_thread(asked.get)
            if len(_contexts) >= MOST_CONTEXTS:  # of files as they were
                _contexts.clear()
            _contexts[stamp] = context
    except (OSError, ValueError) as failed:  # SSLError is an OSError
        error = failed
    if error is None:
        return
    wrong = getattr(error, "strerror", None) or getattr(error, "reason", None) or type(error).__name__
    files = {"ssl_ca_certs": asked.ca_certs, "ssl_certfile": asked.certfile, "ssl_keyfile": asked.keyfile}
    named = ", ".join(f"{name}={path}" for name, path in files.items() if path is not None)
    raise StoreUnusable(
        f"connect: the certificates for {url} can't be used ({str(wrong).lower()}: {named or 'of the system'}); "
        "files in PEM form that this user may read were expected, and a key that belongs to its certificate; "
        "correct the URL",
        verb="connect",
        url=url,
    )


def _stamp(asked: Any) -> tuple[str, ...]:
    """What a context is made of: settings, and when the files were written. Raises OSError."""
    settings = [str(getattr(asked, name)) for name in asked.__slots__ if name != "context"]
    paths = (asked.ca_certs, asked.certfile, asked.keyfile)
    return (*settings, *(str(Path(path).stat().st_mtime_ns) for path in paths if path is not None))


class HungUp(Exception):
    """The server closed the connection after the handshake, and its reason was not to be heard."""


HUNG_UP = (
    "the server closes the connection after the TLS handshake, as one does that expects a client's certificate "
    "(ssl_certfile, ssl_keyfile)"
)


async def greet(connection: AbstractConnection) -> None:
    """Ask for a sign of life, then log in as ever. Raises HungUp.

    A server of TLS 1.3 that does not take the client's certificate says so after the handshake, and hangs up. redis-py
    writes twice before it reads, and breaks the connection with that word unread. Even so the system may drop it with
    the connection (one time in fifteen, measured): then it is worth another try.
    """
    reader, writer = connection._reader, connection._writer  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    assert reader is not None
    assert writer is not None
    writer.write(b"*1\r\n$4\r\nPING\r\n")
    try:
        answer = await reader.readline()  # any will do: NOAUTH is one
    except ConnectionError as error:
        raise HungUp from error
    if not answer:
        raise HungUp
    await connection.on_connect()


def failure(error: BaseException) -> ssl.SSLError | None:
    """What went wrong with TLS, if that is why a connection failed, and will not mend itself by trying again."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            # A server that hangs up in the middle, as one that stops, is away and not unusable.
            return None if isinstance(seen, ssl.SSLEOFError | ssl.SSLZeroReturnError) else seen
        seen = seen.__cause__ or seen.__context__
    return None


def told(error: ssl.SSLError, *, whom: str, url: str) -> StoreUnusable:
    """A failed handshake as one of aiotq's errors. whom: which server."""
    reason = error.reason or ""
    said = f"connect: no TLS with {whom}"
    if isinstance(error, ssl.SSLCertVerificationError):
        what = error.verify_message.rstrip(".")
        what = what[:1].lower() + what[1:]
        message = f"{said}: its certificate was not accepted ({what}); {_cure(error.verify_code)}"
    elif reason in _NO_TLS:
        message = (
            f"{said}: what answers there does not speak it; use redis:// , or the port that the server's tls-port names"
        )
    elif "ALERT" in reason:
        what = reason.lower().replace("_", " ")
        message = (
            f"{said}: the server has refused this client ({what}); a certificate of a CA that it trusts is expected; "
            "name one in the URL: ssl_certfile=/path/to/cert.pem&ssl_keyfile=/path/to/key.pem"
        )
    else:
        message = f"{said} ({reason.lower().replace('_', ' ') or error}); look at the TLS settings of both sides"
    return StoreUnusable(message, verb="connect", url=url)


def _cure(number: int) -> str:
    """What was expected of a certificate that was not accepted, and what to do. number: OpenSSL's."""
    if number in _DATES:
        return "one that is valid today was expected; renew the server's certificate, or correct the clock here"
    if number in _HOST_NAME:
        return "one for the host that the URL names was expected; correct the host, or the certificate"
    if number in _UNKNOWN_CA:
        return "one of a CA that is trusted here was expected; name its file in the URL: ssl_ca_certs=/path/to/ca.pem"
    return "one that can be verified was expected; look at the server's certificate"
