"""What an operator may ask of a store: reads of what lies in a namespace, each bounded; and verbs on single jobs.

`Reading` is the look, `Acting` the hand; both go over the connection of the store that they are of. Text that anybody
may have written comes with escapes for bytes that are none. Times: `_ms` are Unix milliseconds by Redis's clock.
Any of it may raise StoreUnavailable, StoreRefused or StoreUnusable.
"""

from __future__ import annotations

from typing import Protocol


class Reading(Protocol):
    """An operator's reads. What is of another type than expected is as good as not there."""

    async def now_ms(self) -> int:
        """Redis's clock."""
        ...


class Operator(Reading, Protocol):
    """An operator's side of a store."""
