"""An operator's acts over Redis: each a script, safe to repeat, and repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiotq.store import scripts, shapes
from aiotq.store.inspection import Front, Waiting
from aiotq.store.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.store.inspection import Discarding, Ending

BEGINNING, END = 384, 64  # bytes of a record that are looked at: its header and its task's name; its signature


class ActingVerbs(Verbs):
    """An `inspection.Acting`."""

    async def discard(self, wanted: Discarding, *, audit: bytes = b"") -> bool:
        argv = (wanted.job_id, wanted.was, wanted.record, wanted.new_generation, wanted.ttl_ms, audit)
        return not await self._repeated(scripts.DISCARD, *argv)

    async def front(self, line: str, *, leave: int = 0, limit: int) -> Front:
        now_ms, length, *rows = await self._repeated(scripts.FRONT, line, limit, BEGINNING, END, leave)
        return Front(
            now_ms=now_ms,
            length=length,
            waiting=[
                Waiting(shapes.word(rows[i]), rows[i + 1], rows[i + 2] or rows[i + 1]) for i in range(0, len(rows), 3)
            ],
        )

    async def take(
        self, line: str, endings: Sequence[Ending], *, leave: int = 0, limit: int, generation: str, now_ms: int = 0
    ) -> tuple[int, int]:
        argv = [part for one in endings for part in (one.ticket, one.header, one.record, one.ttl_ms)]
        ended, removed = await self._repeated(scripts.TAKE, line, limit, now_ms, generation, leave, *argv)
        return ended, removed

    async def keep(self, audit: bytes, *, now_ms: int = 0, begun: bytes = b"", within_s: float | None = None) -> bool:
        return bool(await self._repeated(scripts.AUDIT, now_ms, audit, begun, timeout_s=within_s))

    async def _repeated(self, script: scripts.Script, *argv: str | bytes | int, timeout_s: float | None = None) -> Any:
        return await self._ask.repeat(lambda: self._ask.run(script, *argv), timeout_s=timeout_s)
