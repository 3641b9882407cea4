"""That the store is away: said aloud once, then tried quietly, and said once more when it is back."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from aiotq.errors import StoreUnavailable
from aiotq.worker.log import say

if TYPE_CHECKING:
    from aiotq.errors import StoreError


class Outage:
    """One worker's view of its store."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    @property
    def lasts(self) -> bool:
        """Whether the store is away now."""
        return self._since_s is not None

    def begin(self, error: StoreError) -> None:
        """A call has failed."""
        if self._since_s is not None:
            return
        self._since_s = monotonic()
        event = "store_down" if isinstance(error, StoreUnavailable) else "store_refuses"
        say(logging.ERROR, event, "%s; trying again", error, url=error.url, error=str(error))

    def end(self, url: str, *, said: str = "connected again") -> None:
        """A call has been answered."""
        if self._since_s is None:
            return
        down_s, self._since_s = monotonic() - self._since_s, None
        say(logging.WARNING, "store_up", "%s after %.1f s", said, down_s, url=url, down_s=down_s)
