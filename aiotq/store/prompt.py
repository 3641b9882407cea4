"""How a person reaches the same server by `redis-cli`: the command that findings begin with, ready to be pasted."""

from __future__ import annotations

import shlex
from urllib.parse import parse_qsl, unquote, urlsplit

from aiotq.errors import UsageError
from aiotq.store import embedded
from aiotq.store.connection import sentinel
from aiotq.store.url import HIDDEN

PORT = 6379
# What a URL says of TLS, as redis-cli wants it.
_TLS = {"ssl_ca_certs": "--cacert", "ssl_ca_path": "--cacertdir", "ssl_certfile": "--cert", "ssl_keyfile": "--key"}


def redis_cli(url: str) -> str:
    """`redis-cli` with the options that lead to a server, but no password: where one is needed, it asks.

    url: without its password, as `redact` shows it. Of sentinels: where the master was last.
    """
    try:
        options = _options(url)
    except (ValueError, OSError, UsageError):  # nothing that a server was reached by
        options = []
    return shlex.join(["redis-cli", *options])


def _options(url: str) -> list[str]:
    scheme = url.partition("://")[0]
    if scheme == "memory":
        return []
    if scheme == "embedded":
        return ["-s", embedded.address(embedded.parse(url)) or "SOCKET"]
    place, _, query = url.partition("?")
    said = dict(parse_qsl(query))
    parts = urlsplit(place.replace(",", "%2C"))  # several hosts, of sentinels
    if scheme == "unix":
        options = ["-s", unquote(parts.path)]
    elif url.startswith(sentinel.SCHEMES):
        host, port = sentinel.master_of(url) or ("HOST", "PORT")
        options = ["-h", host, "-p", str(port)]
    else:
        options = ["-h", unquote(parts.hostname or "localhost"), "-p", str(parts.port or PORT)]
    if scheme.startswith("rediss"):
        options += ["--tls", *(word for name, option in _TLS.items() if name in said for word in (option, said[name]))]
        options += ["--insecure"] if said.get("ssl_cert_reqs") == "none" else []
    return options + _database(scheme, parts.path, said) + _login(place, said)


def _database(scheme: str, path: str, said: dict[str, str]) -> list[str]:
    number = said.get("db") or ("" if scheme == "unix" else path.rstrip("/").rpartition("/")[2])
    return ["-n", number] if number.isdecimal() and int(number) else []


def _login(place: str, said: dict[str, str]) -> list[str]:
    """The name, and that it shall ask for the password (or take it from REDISCLI_AUTH)."""
    user = place.partition("://")[2].rpartition("@")[0]
    name, _, password = user.partition(":")
    name = said.get("username") or (unquote(name) if password else "")
    asks = bool(user) or said.get("password") == HIDDEN
    return [*(["--user", name] if name else []), *(["--askpass"] if asks else [])]
