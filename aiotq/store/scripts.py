"""The Lua scripts, read once: constants, never put together from values."""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files

LOAD_TRIES = 100  # of a script that somebody flushes again and again: a batch comes to the server in pieces
_FOLDER = files("aiotq.store").joinpath("lua")
_SHARED = _FOLDER.joinpath("lib.lua").read_text("utf-8")


class Script:
    """One verb: `lua/<name>.lua` behind the shared part."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = _SHARED + _FOLDER.joinpath(f"{name}.lua").read_text("utf-8")
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


ENQUEUE = Script("enqueue")
EXCHANGE = Script("exchange")
REGISTER = Script("register")
RETIRE = Script("retire")
RENEW = Script("renew")
RECLAIM = Script("reclaim")
PROMOTE = Script("promote")
REPLACE = Script("replace")
CANCEL = Script("cancel")
LOCATE = Script("locate")
PAUSE = Script("pause")
RESUME = Script("resume")
TOKEN = Script("token")
BACKLOG = Script("backlog")
WATCH = Script("watch")
NOTE = Script("note")
TALLY = Script("tally")
VET = Script("vet")
DISCARD = Script("discard")
FRONT = Script("front")
TAKE = Script("take")
AUDIT = Script("audit")
OPERATORS = (DISCARD, FRONT, TAKE, AUDIT)  # no worker and no producer runs them
OTHERS = (
    ENQUEUE,
    EXCHANGE,
    REGISTER,
    RETIRE,
    RENEW,
    RECLAIM,
    PROMOTE,
    REPLACE,
    CANCEL,
    LOCATE,
    PAUSE,
    RESUME,
    TOKEN,
    BACKLOG,
    WATCH,
    NOTE,
    TALLY,
    VET,
)
ALL = OTHERS + OPERATORS
