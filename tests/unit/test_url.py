"""URLs that can't be right, and URLs as they are shown."""

from __future__ import annotations

import pytest

from aiotq.errors import UsageError
from aiotq.store import connect, redact
from aiotq.store.connection.route import route


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379", "redis://localhost:6379"),
        ("redis://:secret@h:1/0", "redis://:***@h:1/0"),
        ("rediss://ada:secret@h:1", "rediss://ada:***@h:1"),
        ("unix:///run/redis.sock?password=secret&db=1", "unix:///run/redis.sock?password=***&db=1"),
        ("unix://ada:secret@/run/redis.sock", "unix://ada:***@/run/redis.sock"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
        ("redis://[secret", "redis://***"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        # Several hosts
        (
            "redis+sentinel://ada:secret@h1:1,h2:2/jobs/0?sentinel_password=secret&sentinel_username=bob",
            "redis+sentinel://ada:***@h1:1,h2:2/jobs/0?sentinel_password=***&sentinel_username=bob",
        ),
        ("redis+sentinel://:secret@h1:1,:secret@h2:2/jobs", "redis+sentinel://:***@h2:2/jobs"),
        ("redis://:secret@h1:1;redis://:secret@h2:2", "redis://:***@h2:2"),
        # A password that was not encoded, in the wrong place, or under a wrong name
        ("redis://:sec@secret@h:1", "redis://:***@h:1"),
        ("redis://:secret/secret@h:1/0", "redis://:***@h:1/0"),
        ("redis://:secret#secret@h:1/0", "redis://:***@h:1/0"),
        ("redis://:secret?secret@h:1/0", "redis://***"),
        ("redis://secret@h:1", "redis://***@h:1"),
        ("redis://ada:secret", "redis://ada:***"),
        ("redis://h?pasword=secret", "redis://h?pasword=***"),
        ("redis://h?password=sec#ret&db=1", "redis://h?password=***"),
        ("redis://h?password=sec@secret", "redis://h?password=***"),
        ("redis:/:secret@h", "***"),
        # Parameters that are no secrets
        (
            "rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/my ca.pem&ssl_password=secret",
            "rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/my%20ca.pem&ssl_password=***",
        ),
        ("embedded:///data/a@b", "embedded:///data/a@b"),
        ("embedded://ada:secret@h?x=secret", "embedded://***@h?x=***"),
        ("memory://jobs", "memory://jobs"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:6379", r"the URL 'localhost:6379' .*; did you mean redis://localhost:6379\?"),
        ("127.0.0.1", r"the URL '127\.0\.0\.1' .*; did you mean redis://127\.0\.0\.1\?"),
        (":secret@h:1", r"the URL ':\*\*\*@h:1' .*; did you mean redis://:\*\*\*@h:1\?"),
        ("redsi://h:1", r"the URL 'redsi://h:1' is not one .*; it starts with one of redis://, "),
        ("redis://h:port", r"the URL 'redis://h:\*\*\*' can't be used: what follows the host is a port, 1 to 65535"),
        ("redis://h:99999", r"'redis://h:99999' can't be used: what follows the host is a port, 1 to 65535"),
        ("redis://h:1 2", "what follows the host is a port"),
        ("redis://ada:secret", "what follows the host is a port"),
        ("redis://[h", "can't be read; expected redis://.*; write special characters"),
        ("redis://h?db=x", "db is the number of a database"),
        ("redis://h/abc", "what follows the / is the number of a database, as in redis://"),
        ("redis://h/1/2", "what follows the / is the number of a database"),
        ("rediss://h/db5", "what follows the / is the number of a database"),
        ("/run/redis.sock", r"has no scheme; did you mean unix:///run/redis\.sock\?"),
        ("unix://run/redis.sock", "it needs the whole path of a socket, from the root, as in unix:///run/redis.sock"),
        ("unix://redis.sock", "it needs the whole path of a socket"),
        ("unix://?db=1", "it needs the whole path of a socket"),
        ("redis://h?pasword=secret", "'pasword' is no parameter that aiotq knows; did you mean password"),
        ("redis://h?ssl_ca_certs=/x", "begin with ssl_ are for rediss://.*; correct the URL"),
        ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs is one of required, optional, none; correct the URL"),
        ("embedded://:secret@h?x=secret", "has options"),
    ],
)
def test_a_url_that_cant_be_right_is_shown_with_what_was_expected(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        connect(url, namespace="test", connect_timeout_s=1)
    assert "secret" not in str(raised.value)
    assert raised.value.__context__ is None, "nothing quotes it behind the error either"


@pytest.mark.parametrize("query", ["max_connections=20", "socket_timeout=3", "decode_responses=true", "protocol=3"])
def test_parameters_that_redis_py_knows_and_aiotq_needs_not_are_no_mistake(query: str) -> None:
    connect(f"redis://h?{query}", namespace="test", connect_timeout_s=1)


@pytest.mark.parametrize(
    ("url", "port", "db"),
    [
        ("redis://h", 6379, 0),
        ("redis://h:7/", 7, 0),
        ("redis://h:7/3\n", 7, 3),
        (" redis://h:7/3 ", 7, 3),
        ("redis://h:/3", 6379, 3),
        ("redis://h:7/3/", 7, 3),
        ("redis://h:7//", 7, 0),
        ("redis://h:7/3#x", 7, 3),
        ("redis://ada:a%2Fb%3Fc%40d@h:7/3?client_name=x", 7, 3),
        ("redis://ada:a@b@h:7/3", 7, 3),
        ("redis://[::1]:7/3", 7, 3),
        ("redis://[::1]", 6379, 0),
        ("redis://h:7?db=3", 7, 3),
    ],
)
def test_a_url_that_is_right_is_read(url: str, port: int, db: int) -> None:
    options = route(url, limit_s=1).options
    assert (options.get("port", 6379), int(options.get("db", 0))) == (port, db)
