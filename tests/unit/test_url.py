"""URLs that can't be right, and URLs as they are shown."""

from __future__ import annotations

import pytest

from aiotq.errors import UsageError
from aiotq.store import connect, redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379", "redis://localhost:6379"),
        ("redis://:secret@h:1/0", "redis://:***@h:1/0"),
        ("rediss://ada:secret@h:1", "rediss://ada:***@h:1"),
        ("unix:///run/redis.sock?password=secret&db=1", "unix:///run/redis.sock?password=***&db=1"),
        ("redis://[secret", "redis://***"),
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
        ("redis://h:port", "the URL 'redis://h:port' can't be read: .*; expected redis://"),
    ],
)
def test_a_url_that_cant_be_right_is_shown_with_what_was_expected(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        connect(url, namespace="test", connect_timeout_s=1)
    assert "secret" not in str(raised.value)
