"""How many jobs a worker may still claim. One that is to be replaced claims no more, and ends what it holds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Allowance:
    """As many as it likes, until it is told otherwise."""

    __slots__ = ("_spent", "closed", "left")

    def __init__(self) -> None:
        self.left = sys.maxsize
        self._spent: Callable[[], None] | None = None
        self.closed = False  # it gets no more, whatever comes back unrun

    def limit(self, jobs: int | None, *, spent: Callable[[], None]) -> None:
        """So many, or any number. spent: called once, when the last of them has been started."""
        self.left, self._spent = sys.maxsize if jobs is None else jobs, spent

    def close(self) -> None:
        """None from now on."""
        self.left, self.closed = 0, True
        if self._spent is not None:
            spent, self._spent = self._spent, None
            spent()

    def claimed(self, jobs: int) -> None:
        """So many were claimed."""
        self.left = max(0, self.left - jobs)

    def returned(self, jobs: int) -> None:
        """So many were not run after all: others may be claimed for them."""
        if not self.closed:
            self.left += jobs

    def started(self, *, waiting: int) -> bool:
        """Of those in hand so many have not been started. Whether it has had all that it may have."""
        if not self.left and not waiting and not self.closed:
            self.close()
        return self.closed
