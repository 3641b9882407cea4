"""What an error answer means, by the words of each server and the classes of redis-py."""

import pytest
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError, ResponseError

from aiotq.errors import StoreFull, StoreRefused, StoreUnusable
from aiotq.store.answers import code, told


@pytest.mark.parametrize(
    ("error", "word", "kind"),
    [
        (ResponseError("OOM command not allowed when used memory > 'maxmemory'."), "OOM", StoreFull),
        (ResponseError("Error running script (call to f_1): @user_script:1: -OOM no"), "OOM", StoreFull),
        (ResponseError("BUSY Redis is busy running a script."), "BUSY", StoreRefused),
        (BusyLoadingError("Redis is loading the dataset in memory"), "LOADING", StoreRefused),
        (ResponseError("ERR max number of clients reached"), "MAXCLIENTS", StoreRefused),
        (ResponseError("max number of clients + cluster connections reached"), "MAXCLIENTS", StoreRefused),
        (AuthenticationError("Authentication required."), "NOAUTH", StoreUnusable),
        (ResponseError("Protocol error: unauthenticated multibulk length"), "NOAUTH", StoreUnusable),
        (ResponseError("ERR Protocol error: unauthenticated bulk length"), "NOAUTH", StoreUnusable),
        (AuthenticationError("invalid username-password pair or user is disabled."), "WRONGPASS", StoreUnusable),
        (ResponseError("ERR ACL failure in script: No permissions to access a key"), "NOPERM", StoreUnusable),
        (NoScriptError("No matching script."), "NOSCRIPT", StoreUnusable),
        (ResponseError("unknown command 'EVALSHA'"), "ERR", StoreUnusable),
    ],
)
def test_each_servers_words_are_classed(error: RedisError, word: str, kind: type[Exception]) -> None:
    assert code(error) == word
    assert type(told(error, verb="enqueue", url="redis://here")) is kind
