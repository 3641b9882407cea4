"""The command by which a person reaches the same server: whole, and without a password."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from aiotq.store.connection import sentinel
from aiotq.store.prompt import redis_cli
from aiotq.store.url import redact

if TYPE_CHECKING:
    from pathlib import Path

CASES = {
    "redis://redis.internal": "redis-cli -h redis.internal -p 6379",
    "redis://redis.internal:6380/2": "redis-cli -h redis.internal -p 6380 -n 2",
    "redis://[::1]:6380/0": "redis-cli -h ::1 -p 6380",
    "redis://h?db=3": "redis-cli -h h -p 6379 -n 3",
    "redis://:s3cret@h/1": "redis-cli -h h -p 6379 -n 1 --askpass",
    "redis://ada:s3cret@h": "redis-cli -h h -p 6379 --user ada --askpass",
    "redis://h?username=ada&password=s3cret": "redis-cli -h h -p 6379 --user ada --askpass",
    "rediss://h:6390": "redis-cli -h h -p 6390 --tls",
    "rediss://h?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=none": (
        "redis-cli -h h -p 6379 --tls --cacert /etc/ca.pem --insecure"
    ),
    "unix:///run/my%20redis.sock?db=4": "redis-cli -s '/run/my redis.sock' -n 4",
    "unix://:s3cret@/run/redis.sock": "redis-cli -s /run/redis.sock --askpass",
    "redis+sentinel://s1:26379,s2/shop/2": "redis-cli -h HOST -p PORT -n 2",
    "memory://": "redis-cli",
    "redis://h:99999": "redis-cli",
}


@pytest.mark.parametrize("url", CASES)
def test_a_url_is_a_command_to_be_pasted(url: str) -> None:
    assert redis_cli(redact(url)) == CASES[url]


@pytest.mark.parametrize("url", ["redis://a:b@h;reboot:1", "redis://$(id)@h/`id`", "unix:///a;b", "rediss://h?db=1;x"])
def test_what_a_url_says_is_one_word_of_it_or_nothing(url: str) -> None:
    command = redis_cli(url)
    assert shlex.join(shlex.split(command)) == command


def test_behind_sentinels_it_is_the_master_that_was_seen_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sentinel._masters, "rediss+sentinel://s1,s2/shop", ("10.0.0.7", 6401))
    assert redis_cli("rediss+sentinel://s1,s2/shop") == "redis-cli -h 10.0.0.7 -p 6401 --tls"


def test_the_built_in_server_is_reached_by_its_socket(tmp_path: Path) -> None:
    (tmp_path / "address").write_text("/run/aiotq/server.sock")
    assert redis_cli(f"embedded://{tmp_path}") == "redis-cli -s /run/aiotq/server.sock"
    assert redis_cli("embedded://host:1") == "redis-cli"
