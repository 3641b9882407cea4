"""What a supervisor and its worker processes say to each other, over a socket that each pair shares.

A supervisor that has gone, however that may be, is the end of the socket. What it says are two words: signals do the
rest, but a signal can't be told from one that a terminal or an init system sends to all processes at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

VARIABLE = "_AIOTQ_SEAT"  # in a worker process's environment, until it has read it
NOW = b"now\n"  # stop, and wait for nothing
DRAIN = b"drain\n"  # claim no more, and end when what it holds has ended: another one has newer code


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Which of a supervisor's processes this one is."""

    number: int  # from 1
    count: int  # how many there are
    label: str  # the supervisor's; a process's own has its number
    socket: int  # the file descriptor of its end
    first: bool  # the first process of all: it shows the banner, and what is wrong from the start

    @property
    def name(self) -> str:
        """The label of the worker in this seat."""
        return f"{self.label}/{self.number}"


def given(seat: Seat, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is to take a seat."""
    return {**environ, VARIABLE: msgspec.json.encode(seat).decode()}


def take(environ: MutableMapping[str, str]) -> Seat | None:
    """This process's seat, if it has one; taken out, so that what it starts itself does not find it."""
    told = environ.pop(VARIABLE, None)
    return None if told is None else msgspec.json.decode(told, type=Seat)


class Registered(Struct, frozen=True, kw_only=True, tag=True):
    """The worker stands in the store: all that is needed to hand its jobs back if its process dies."""

    url: str  # with its password: it goes from process to process, and is never shown
    namespace: str
    worker_id: str
    lease_s: float

    def __repr__(self) -> str:
        """Without the URL."""
        return f"Registered(namespace={self.namespace!r}, worker_id={self.worker_id!r}, lease_s={self.lease_s!r})"


class Retired(Struct, frozen=True, tag=True):
    """It stands in the store no more, and holds nothing."""


class Ready(Struct, frozen=True, tag=True):
    """It works."""


class Full(Struct, frozen=True, tag=True):
    """It claims no more and ends when what it holds has ended: replace it."""

    early: bool = False  # it has not ended a single job: another one may well fare the same


class Broken(Struct, frozen=True, tag=True):
    """The user's code could not be loaded; it has said why, and ends."""

    theirs: bool = True  # it raised as it was imported; else there is no such module, or no app in it


class Doing(Struct, frozen=True, kw_only=True, tag=True):
    """How it does (health.py): said when that changes, and again and again, so that silence tells as well."""

    live: bool
    ready: bool
    reason: str | None = None


Word = Registered | Retired | Ready | Full | Broken | Doing

encode = msgspec.json.encode
_decoder = msgspec.json.Decoder(Word)


def decode(line: bytes) -> Word:
    """A word from its line."""
    return _decoder.decode(line)
