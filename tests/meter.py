"""What scripts cost a server: the processor time of its main thread, which other programs can't take from it.

They can make it longer, though: with busy neighbours on its core and in its caches the same work takes up to three
times as long. So a piece of work that is always the same is measured just before, and what it took more than usual is
taken off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable

LIMIT_MS = 5.0
# Three thousand commands of those that the scripts use.
ALIKE = """
for i = 1, 1000 do
  local member = 'default:5:AAAA:' .. i
  redis.call('SET', KEYS[1], string.rep('x', 200), 'PX', 60000)
  redis.call('SADD', KEYS[2], member)
  redis.call('RPUSH', KEYS[3], member)
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
"""
KEYS = ("meter:1", "meter:2", "meter:3")
USUAL_MS = 6.0  # of that: the least of a hundred times on two shared cores, on which scripts took 1.5 to 3.5 ms


class Meter:
    """Measures what calls cost a server, in milliseconds."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def cpu_ms(self) -> float:
        """Of its main thread, so far."""
        info = await self._raw.info("cpu")
        return 1_000 * (info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"])

    async def least(self, *calls: Awaitable[object]) -> float:
        """The milliseconds, as on a quiet machine, of the cheapest of some calls that do the same amount of work."""
        costs: list[float] = []
        for call in calls:
            slower = await self.slower()
            costs.append(await self._cost_ms(call) / slower)
        return min(costs)

    async def slower(self) -> float:
        """How much slower than usual the server is just now; at least 1."""
        return max(1.0, await self._cost_ms(self._raw.eval(ALIKE, len(KEYS), *KEYS)) / USUAL_MS)

    async def _cost_ms(self, call: Awaitable[object]) -> float:
        before = await self.cpu_ms()
        await call
        return await self.cpu_ms() - before
