"""Why a server can't be reached, in the system's own words."""

from __future__ import annotations

import errno
import os
import re

_NUMBER = re.compile(r"Err(?:no|or) (\d+)")
_REDIS_PY = re.compile(r"^Error \S+ (?:connecting to \S+|while \w+ (?:to|from) socket\.) ")


_REFUSALS = frozenset(os.strerror(number).lower() for number in (errno.ECONNREFUSED, errno.ENOENT))


def is_refusal(said: str) -> bool:
    """Whether nobody listens at an address, by what `cause` says."""
    return said in _REFUSALS


def cause(text: str) -> str:
    """What an error of redis-py or of the system comes to, in few words: "connection refused"."""
    number = _NUMBER.search(text)
    if number and int(number[1]) in errno.errorcode:
        return os.strerror(int(number[1])).lower()
    said = _REDIS_PY.sub("", text).rstrip(".")
    return said[:1].lower() + said[1:]
