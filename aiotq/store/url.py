"""URLs, as they may be shown.

A password may stand in front of an @, in front of each of several hosts, or in the query; and people forget to write
its special characters as %40 and so on. So nothing is shown that is not known to be harmless: what stands before the
last @ is hidden, as is a host that can't be one, and every value of the query but of the parameters named here.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote

HIDDEN = "***"
# Parameters whose values may be shown.
SHOWN = frozenset(
    {
        "client_name", "db", "sentinel_username", "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile",
        "ssl_check_hostname", "ssl_ciphers", "ssl_exclude_verify_flags", "ssl_include_verify_flags", "ssl_keyfile",
        "ssl_min_version", "username",
        # redis-py's own, which aiotq sees to by itself
        "decode_responses", "encoding", "encoding_errors", "health_check_interval", "max_connections", "protocol",
        "retry_on_timeout", "socket_connect_timeout", "socket_keepalive", "socket_read_size", "socket_timeout",
        "socket_type", "timeout",
    }
)  # fmt: skip
_URL = re.compile(r"(?P<scheme>[A-Za-z][\w.+-]*)://(?P<rest>.*)", re.DOTALL)
_HOST = re.compile(r"(?P<name>\[[\w:.%]+\]|[\w.%-]*)(?P<port>:\d{1,5})?(?P<odd>:?.*)", re.DOTALL)
_NAME = re.compile(r"[\w.-]{1,64}")
_LOGIN = re.compile(r"^[^/]*:[^/]*@")


def redact(url: str) -> str:
    """The URL without any password, for logs, banners and errors. Never raises."""
    found = _URL.fullmatch(url)
    if found is None:
        return HIDDEN if "@" in url else url
    scheme, rest = found["scheme"], found["rest"]
    head, mark, query = rest.partition("?")
    if scheme in ("embedded", "memory"):  # followed by a path
        return f"{scheme}://{_LOGIN.sub(f'{HIDDEN}@', head)}{mark}{_query(query)}"
    before, later_at, _ = query.partition("@")
    if later_at and "=" not in before and "@" not in head:
        return f"{scheme}://{HIDDEN}"  # the ? may be a password's own
    user, at, place = ("", "", head) if head.startswith("/") else head.rpartition("@")
    hosts, slash, path = place.partition("#")[0].partition("/")
    shown = ",".join(_host(host) for host in hosts.split(","))
    return f"{scheme}://{_user(user)}{at}{shown}{slash}{path}{mark}{_query(query)}"


def _user(user: str) -> str:
    """Of "name:password" the name; one without a colon may be a password that stands in the wrong place."""
    name, colon, _ = user.partition(":")
    if not user:
        return ""
    return f"{name}:{HIDDEN}" if colon and (not name or _NAME.fullmatch(name)) else HIDDEN


def _host(host: str) -> str:
    """What is no port may be a password whose host was forgotten."""
    found = _HOST.fullmatch(host)
    assert found is not None  # each part may be empty
    if not found["odd"]:
        return host
    return f"{found['name']}:{HIDDEN}" if found["odd"].startswith(":") else HIDDEN


def _query(query: str) -> str:
    pairs = parse_qsl(query.partition("#")[0], keep_blank_values=True)
    return "&".join(
        f"{name if _NAME.fullmatch(name) else HIDDEN}="
        f"{quote(value, safe='/,:*') if name in SHOWN and '@' not in value else HIDDEN}"
        for name, value in pairs
    )
