"""What an operator's verbs are made of."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from aiotq.store.inspection import REFUSED_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiotq.store.ask import Asking

AT_ONCE = 256  # commands of one write


class Verbs:
    """It has no connection of its own: that of the store which it is of."""

    def __init__(self, ask: Asking) -> None:
        self._ask, self._prefix, self.url = ask, ask.prefix, ask.url

    async def _send(self, *command: str | bytes | int, denied: Any = None) -> Any:
        """One read, repeated until it is answered, or nobody listens. denied: the answer where the user may not ask."""
        return await self._ask.repeat(lambda: self._ask.send("read", *command, denied=denied), refused_s=REFUSED_S)

    async def _send_all(self, commands: Iterable[Sequence[str | bytes | int]]) -> list[Any]:
        """Many reads; those of one write are repeated together."""
        waiting, answers = list(commands), list[Any]()
        for first in range(0, len(waiting), AT_ONCE):
            some = waiting[first : first + AT_ONCE]
            answers += await self._ask.repeat(partial(self._gathered, some), refused_s=REFUSED_S)
        return answers

    async def _gathered(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        return await asyncio.gather(*(self._ask.send("read", *command) for command in commands))
