"""What an operator asks of the server as such: what it says of itself, and how fast it answers."""

from __future__ import annotations

from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from aiotq.errors import StoreError
from aiotq.store.facts import parsed, which
from aiotq.store.inspection import Told
from aiotq.store.prompt import redis_cli
from aiotq.store.shapes import word
from aiotq.store.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENTRIES = 100  # of the slow log


class TellingVerbs(Verbs):
    """What of an `inspection.Reading` the server tells of itself."""

    async def told(self, *, config: Sequence[str] = (), pings: int = 1) -> Told:
        ping_s: list[float] = []
        for _ in range(pings):
            began_s = monotonic()
            await self._send("PING", denied=b"")
            ping_s.append(monotonic() - began_s)
        cli = redis_cli(self.url)
        if self.url.startswith("memory://"):  # fakeredis has no INFO
            info = {"redis_version": version("fakeredis")}
            return Told(kind="fakeredis", info=info, config={}, ping_s=ping_s, cli=cli)
        info = parsed(await self._send("INFO", denied=b""))
        kind, number, _ = which(info)
        settings: dict[str, str] = {}
        for name in config:  # one by one: servers before 7 take no more
            row = await self._may("CONFIG", "GET", name)
            settings.update({word(key): word(value) for key, value in zip(row[::2], row[1::2], strict=True)})
        return Told(kind=kind if number else "Redis or Valkey", info=info, config=settings, ping_s=ping_s, cli=cli)

    async def slow(self) -> Sequence[tuple[str, float]] | None:
        rows = await self._may("SLOWLOG", "GET", _ENTRIES, denied=None)
        if rows is None:
            return None
        found: list[tuple[str, float]] = []
        for row in rows:
            _, _, micros, words = cast("list[Any]", row)[:4]
            command = [word(part) for part in words[:5]]
            if any(part.startswith(self._prefix) for part in command):
                found.append((" ".join(command[:2]) if command[0].upper() == "EVALSHA" else command[0], micros / 1e6))
        return found

    async def _may(self, *command: str | int, denied: Any = ()) -> Any:
        """A look that a user, or a server of somebody else's keeping, may refuse: then it has told nothing."""
        try:
            answer = await self._send(*command, denied=False)
        except StoreError as error:
            if getattr(error, "code", None) not in {"ERR", "NOPERM"}:
                raise
            return denied
        return denied if answer is False else answer
