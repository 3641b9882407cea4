"""What Redis's error answers mean, in aiotq's words.

redis-py's classes are no guide: it calls a wrong password and LOADING connection errors, and READONLY, BUSY and MISCONF
plain replies. So an answer is classed by its leading code (measured on redis-py 8.1, and 6.2's script errors).
"""

from __future__ import annotations

import re

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)

from aiotq.errors import StoreError, StoreFull, StoreRefused, StoreUnusable

# redis-py strips the code off the text of these.
_BY_CLASS: tuple[tuple[type[RedisError], str], ...] = (
    (NoScriptError, "NOSCRIPT"),
    (ReadOnlyError, "READONLY"),
    (BusyLoadingError, "LOADING"),
    (OutOfMemoryError, "OOM"),
    (MasterDownError, "MASTERDOWN"),
    (NoPermissionError, "NOPERM"),
    (AuthenticationError, "WRONGPASS"),
)
_OLD_STYLE = re.compile(r"Error running script .*?: -?(READONLY|OOM|MISCONF|NOREPLICAS|NOPERM|MASTERDOWN)\b", re.DOTALL)
# A command or key that a script may not use: Valkey, Redis 7.
_DENIED = re.compile(r"ACL failure in script|user executing the script can't")
_CODE = re.compile(r"[A-Z][A-Z0-9]{1,30}\b")
# "ERR max number of clients reached", then the connection ends; on a cluster it says a little more.
_CROWDED = re.compile(r"(?:ERR )?max number of clients\b")
# An older server takes no long command from one who has not said a password, and says this instead of NOAUTH.
_STRANGER = re.compile(r"(?:ERR )?Protocol error: unauthenticated\b")
# The server will serve again by itself, or another one will behind the same address: connect anew.
RECONNECT = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "UNBLOCKED", "MAXCLIENTS"})
# ... and this: cut off from its replicas, it may have been replaced by one of them. Asked again, it costs no time.
LEAVE = RECONNECT | {"NOREPLICAS"}
# It will serve once a person or time has helped.
WAIT = frozenset({"BUSY", "MISCONF", "NOREPLICAS", "OOM", "TRYAGAIN"})
_CURE = {
    "READONLY": "it is a read-only replica; point the URL at the primary",
    "LOADING": "it is loading its data; wait",
    "MAXCLIENTS": "too many clients are connected to it; end some, or raise its maxclients",
    "MASTERDOWN": "it is a replica without its primary; point the URL at the primary",
    "BUSY": "a script runs too long there; SCRIPT KILL ends it",
    "MISCONF": "it can't save to its disk; see its log",
    "NOREPLICAS": "too few replicas are connected to it; see min-replicas-to-write",
}


def code(error: RedisError) -> str:
    """The leading code of an error answer: "READONLY", "OOM", ...; "ERR" if it has none; "MAXCLIENTS" is ours."""
    text = str(error)
    for kind, name in _BY_CLASS:
        if isinstance(error, kind):
            return "NOAUTH" if kind is AuthenticationError and "required" in text else name
    old = _OLD_STYLE.search(text)
    if old:
        return old.group(1)
    if _DENIED.search(text):
        return "NOPERM"
    if _CROWDED.match(text):
        return "MAXCLIENTS"
    if _STRANGER.match(text):
        return "NOAUTH"
    found = _CODE.match(text)
    return found.group() if found else "ERR"


def told(error: RedisError, *, verb: str, url: str) -> StoreError:
    """The error answer as one of aiotq's."""
    word = code(error)
    said = f"{verb}: {url} answered {word}"
    text = str(error)[:200]
    if word == "OOM":
        return StoreFull(
            f"{said}: its memory is full (maxmemory); nothing was done; drain a queue, or give it more memory",
            verb=verb,
            url=url,
            code=word,
        )
    if word in RECONNECT or word in WAIT:
        cure = _CURE.get(word, "try again")
        return StoreRefused(f"{said}; nothing was done; {cure}", verb=verb, url=url, code=word)
    if word in ("WRONGPASS", "NOAUTH"):
        return StoreUnusable(
            f"{said}: the user name or password in the URL is wrong, or one is needed; correct the URL",
            verb=verb,
            url=url,
            code=word,
        )
    if word == "NOPERM":
        return StoreUnusable(
            f"{said} ({text}); the Redis user lacks a right that aiotq needs; extend its ACL",
            verb=verb,
            url=url,
            code=word,
        )
    expected = "a Redis of 6.2 or newer, or a Valkey, was expected"
    return StoreUnusable(f"{said} ({text}); {expected}", verb=verb, url=url, code=word)
