"""An operator's reads over Redis: plain commands, each of them bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiotq.store.ask import Asking


class ReadingVerbs:
    """A `inspection.Reading`."""

    def __init__(self, ask: Asking) -> None:
        self._ask, self._prefix, self.url = ask, ask.prefix, ask.url

    async def _send(self, *command: str | bytes | int, denied: Any = None) -> Any:
        """One read, repeated until it is answered. denied: the answer where the user may not ask."""
        return await self._ask.repeat(lambda: self._ask.send("read", *command, denied=denied))

    async def now_ms(self) -> int:
        seconds, micros = await self._send("TIME")
        return int(seconds) * 1000 + int(micros) // 1000
