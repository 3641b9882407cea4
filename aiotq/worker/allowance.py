"""How many jobs a worker may still claim. One that is to be replaced claims no more, and ends what it holds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Allowance:
    """As many as it likes, until it is told otherwise."""

    __slots__ = ("_spent", "left")

    def __init__(self) -> None:
        self.left = sys.maxsize
        self._spent: Callable[[], None] | None = None

    def limit(self, jobs: int | None, *, spent: Callable[[], None]) -> None:
        """So many, or any number. spent: called once, when the last has been claimed."""
        self.left, self._spent = sys.maxsize if jobs is None else jobs, spent

    def claimed(self, jobs: int) -> bool:
        """So many were claimed. Whether that were all."""
        self.left = max(0, self.left - jobs)
        if not self.left and self._spent is not None:
            spent, self._spent = self._spent, None
            spent()
        return not self.left

    def returned(self, jobs: int) -> None:
        """So many were not run after all. What has been spent remains spent: a successor is on its way."""
        if self.left:
            self.left += jobs
