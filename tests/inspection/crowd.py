"""A namespace with very many jobs, made by the server itself, and what a call on it costs there."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable

FILL = """
local prefix, first, last, now = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local state, place = ARGV[4], ARGV[5]
local body = '{"t":"shop:send","a":["someone@example.org",' .. string.rep('1', 100) .. ']'
if state == 'f' then
  local attempt = '[1,' .. now .. ',' .. now .. ',"w-1","ValueError","no"]'
  body = body .. ',"n":1,"h":[' .. attempt .. '],"e":["ValueError","no",[]],"z":"error"'
end
body = body .. '}'
local batch = {}
for i = first, last do
  local id = string.format('%s%031x', state, i)
  redis.call('SET', prefix .. 'job:' .. id, '1' .. state .. 'AAAA' .. now .. body)
  if place == 'dead' then redis.call('ZADD', prefix .. 'dead', now + i, id)
  elseif place == 'schedule' then redis.call('ZADD', prefix .. 'schedule', now + 3600000, 'mail:5:AAAA:' .. id)
  elseif place == 'ended' then redis.call('LPUSH', prefix .. 'ended', state .. id)
  else redis.call('RPUSH', prefix .. 'line:mail:5', 'mail:5:AAAA:' .. id) end
end
if place == 'queued' then
  redis.call('ZADD', prefix .. 'lines:mail', 5, '5')
  redis.call('SADD', prefix .. 'queues', 'mail')
end
"""
STEP = 20_000
WIPE = """
local cursor = '0'
repeat
  local reply = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 5000)
  cursor = reply[1]
  if #reply[2] > 0 then redis.call('UNLINK', unpack(reply[2])) end
until cursor == '0'
"""


async def fill(raw: Any, prefix: str, number: int, *, state: str = "w", place: str = "queued") -> None:
    """So many jobs in a place."""
    seconds, _ = await raw.time()
    for first in range(0, number, STEP):
        last = min(number, first + STEP) - 1
        await raw.eval(FILL, 1, prefix, first, last, int(seconds) * 1000 - 60_000, state, place)


async def wipe(raw: Any, prefix: str) -> None:
    """Remove all of it."""
    pattern = "".join(f"\\{char}" if char in "[]*?\\" else char for char in prefix) + "*"
    await raw.eval(WIPE, 0, pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a call took."""

    commands: int
    replied: int  # bytes
    server_s: float  # of the server's time
    took_s: float


async def cost(raw: Any, call: Awaitable[Any]) -> tuple[Any, Cost]:
    """Of one call, while nobody else uses the server."""
    await raw.config_resetstat()
    began = perf_counter()
    result = await call
    took_s = perf_counter() - began
    stats, net = await raw.info("commandstats"), await raw.info("stats")
    ours = {name: row for name, row in stats.items() if name not in {"cmdstat_config|resetstat", "cmdstat_info"}}
    return result, Cost(
        commands=sum(row["calls"] for row in ours.values()),
        replied=net["total_net_output_bytes"],
        server_s=sum(row["usec"] for row in ours.values()) / 1e6,
        took_s=took_s,
    )
