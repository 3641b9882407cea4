"""Trouble with the store: each state of it is said aloud once, then tried quietly, and its end is said once.

A state is what kind of trouble it is: away, LOADING, READONLY, ... A server that starts again goes through several,
each said once an outage, whatever order they come in. Trouble that comes and goes all the time is said a few times a
minute, and again if it stays.
"""

from __future__ import annotations

import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from aiotq.errors import StoreRefused, StoreUnavailable, StoreUnusable
from aiotq.worker.log import say

if TYPE_CHECKING:
    from aiotq.errors import StoreError

BURST = 4  # outages that are said within BURST_S, however short they are
BURST_S = 60.0
STAYS_S = 3.0  # one that lasts for so long is said in any case
# For so long a duty may fail beside a fetcher that does not, before that is said: of a server that has frozen a fetcher
# may learn some 11 s later, at the end of its blocking wait and of the call after it.
DUTY_PATIENCE_S = 10.0
DUTY_FORGETS_S = 60.0  # one that fails more seldom has worked in between, whether it has said so or not


def state_of(error: StoreError) -> str:
    """What kind of trouble it is, in a few words that hold nothing secret."""
    match error:
        case StoreUnavailable():
            return "the store is away"
        case StoreRefused():
            return f"the store refuses ({error.code})"
        case StoreUnusable(code=str(code)):
            return f"the store can't be used ({code})"
        case _:
            return "the store can't be used"


class Outage:
    """One worker's view of its store. Used on its loop; `state` may be read by any thread."""

    def __init__(self) -> None:
        self.state: str | None = None  # what kind of trouble there is now; None: none
        self._since_s = 0.0
        self._said: set[str] = set()  # states, in this outage
        self._latest: deque[float] = deque(maxlen=BURST)  # when the latest outages were first said
        self._unsaid = 0  # outages since then that were not

    @property
    def lasts(self) -> bool:
        """Whether the store is away, or refuses, now."""
        return self.state is not None

    def begin(self, error: StoreError) -> None:
        """A call has failed."""
        now_s = monotonic()
        if self.state is None:
            self._since_s = now_s
            self._unsaid += 1
        self.state = state_of(error)
        if self.state in self._said or (not self._said and self._comes_and_goes(now_s)):
            return
        if not self._said:
            self._latest.append(now_s)
        self._said.add(self.state)
        others, self._unsaid = max(0, self._unsaid - 1), 0
        also = f" (and {others} times more that were not said)" if others else ""
        event = "store_down" if isinstance(error, StoreUnavailable) else "store_refuses"
        facts = {"url": error.url, "error": str(error), "code": getattr(error, "code", None), "unsaid": others}
        say(logging.ERROR, event, "%s; trying again%s", error, also, **facts)

    def end(self, url: str, *, said: str = "connected again") -> None:
        """A call has been answered."""
        if self.state is None:
            return
        down_s, self.state = monotonic() - self._since_s, None
        if self._said:
            self._said = set()
            say(logging.WARNING, "store_up", "%s after %.1f s", said, down_s, url=url, down_s=down_s)

    def _comes_and_goes(self, now_s: float) -> bool:
        """Whether enough has been said of late, and this outage has not lasted long."""
        often = len(self._latest) == BURST and now_s - self._latest[0] < BURST_S
        return often and now_s - self._since_s < STAYS_S


class DutyOutage:
    """The same for one duty beside the fetcher: of its trouble nothing is said while the fetcher has some as well.

    What is left is a command that this duty alone needs and that is refused, or its connection that alone breaks.
    """

    def __init__(self, duty: str, fetchers: Outage) -> None:
        """duty: what it does, as the subject of a sentence: "renewing the lease"."""
        self._duty, self._fetchers = duty, fetchers
        self._since_s: float | None = None
        self._last_s = 0.0
        self._said: set[str] = set()

    def begin(self, error: StoreError) -> None:
        """A call of the duty has failed."""
        now_s = monotonic()
        if now_s - self._last_s > DUTY_FORGETS_S:
            self._since_s, self._said = None, set()
        if self._fetchers.lasts or self._since_s is None:
            self._since_s = now_s
        self._last_s = now_s
        state = state_of(error)
        if state in self._said or now_s - self._since_s < DUTY_PATIENCE_S:
            return
        self._said.add(state)
        say(
            logging.ERROR, "duty_fails", "%s fails: %s; trying again", self._duty, error, url=error.url, duty=self._duty
        )

    def end(self) -> None:
        """A call of the duty has been answered."""
        since_s, self._since_s = self._since_s, None
        if self._said:
            self._said = set()
            lasted_s = monotonic() - (since_s or 0.0)
            said = "%s works again after %.1f s"
            say(logging.WARNING, "duty_works", said, self._duty, lasted_s, duty=self._duty, down_s=lasted_s)
