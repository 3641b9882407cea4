"""Which server an app uses, and who said so."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiotq.errors import UsageError
from aiotq.store import built_in, redact

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILT_IN = "embedded://"
DEFAULT = "redis://localhost:6379"

log = logging.getLogger("aiotq")
_said: set[str] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A server's URL. Show it by `str`, which leaves the password out."""

    url: str
    origin: str  # "--url", "App(url)", "AIOTQ_URL", "REDIS_URL", "built-in" or "default"

    def __str__(self) -> str:
        return f"{redact(self.url)} (from {self.origin})"

    def __repr__(self) -> str:
        return f"Source({self})"


def choose(*, override: str | None, given: str | None, environ: Mapping[str, str] = os.environ) -> Source:
    """The first that is set. override: `--url`; given: `App(url)`; then AIOTQ_URL, REDIS_URL, the built-in server.

    Raises UsageError where only the built-in server is left and AIOTQ_ENV is "production".
    """
    stated = {
        "--url": override,
        "App(url)": given,
        "AIOTQ_URL": environ.get("AIOTQ_URL"),
        "REDIS_URL": environ.get("REDIS_URL"),
    }
    for origin, url in stated.items():
        if url:
            return Source(url=url, origin=origin)
    if not built_in():
        return Source(url=DEFAULT, origin="default")
    if environ.get("AIOTQ_ENV", "").strip().lower() == "production":
        raise UsageError(
            "no server is named and AIOTQ_ENV is 'production', where the built-in server is not used by default; "
            "set AIOTQ_URL, or pass App('redis://...') (App('embedded://') if you mean the built-in one)"
        )
    return Source(url=BUILT_IN, origin="built-in")


def none_runs(source: Source) -> str:
    """What is said to who looks, and starts none, where the built-in server does not run."""
    if source.origin == "built-in":  # nobody has named it
        todo = "no URL was given: name a server by --url or AIOTQ_URL, or start a worker, which starts this one"
    else:
        todo = "a worker, or a program that enqueues, starts it"
    return f"no built-in server runs: {source}; {todo}"


def say_aloud(source: Source) -> None:
    """Tell a sender once that its jobs go to the built-in server, which nobody has asked for by name."""
    if source.origin == "built-in" and source.url not in _said:
        _said.add(source.url)
        log.warning(
            "using the built-in server in .aiotq/ (development; set AIOTQ_URL to use your own)",
            extra={"event": "built_in"},
        )
