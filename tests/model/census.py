"""All keys of a namespace as they lie in the server, read in one go, and what must be true of them at any moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiotq.job import parse_ticket
from tests.model.state import header, well_formed

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

# Only for a server of the tests' own: KEYS walks through everything.
DUMP = """
local out = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind = redis.call('TYPE', key).ok
  local value
  if kind == 'string' then value = redis.call('GET', key)
  elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  else value = redis.call('HGETALL', key) end
  out[#out + 1] = {key, kind, redis.call('PTTL', key), value}
end
return out
"""
TOKEN_TTL_MS = 60_000


def text(raw: bytes) -> str:
    """Bytes as text, whatever they hold."""
    return raw.decode("utf-8", "surrogateescape")


@dataclass(slots=True)
class Census:
    """What the store holds."""

    records: dict[str, bytes] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    index: dict[str, list[str]] = field(
        default_factory=dict
    )  # `lines:<queue>`: its lines, the suspects first, then by priority
    schedule: dict[str, int] = field(default_factory=dict)
    active: dict[str, set[str]] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)
    cards: set[str] = field(default_factory=set)
    lost: dict[str, int] = field(default_factory=dict)
    cancels: set[str] = field(default_factory=set)
    paused: set[str] = field(default_factory=set)
    queues: set[str] = field(default_factory=set)
    dead: dict[str, int] = field(default_factory=dict)
    wake: dict[str, int] = field(default_factory=dict)  # the number of tokens
    poller: bytes | None = None
    fence: int = 0
    ended: list[str] = field(default_factory=list)  # newest first
    stats: dict[str, dict[str, bytes]] = field(default_factory=dict)  # by "m:<minute>" ...
    failures: dict[str, bytes] = field(default_factory=dict)
    folded: int | None = None  # the last minute that has been counted in its hour
    others: set[str] = field(default_factory=set)  # keys that this census knows nothing of
    ttl_ms: dict[str, int] = field(default_factory=dict, compare=False)  # of every key; -1: none
    back_ms: int = field(default=0, compare=False)  # so far the server's clock may have stepped back: TTLs look longer


def pattern(prefix: str) -> str:
    """What matches every key with that prefix (a brace means nothing to KEYS)."""
    return prefix + "*"


def take(client: redis.Redis, prefix: str) -> Census:
    """prefix: of every key, as `{aiotq}:`."""
    found: Any = client.eval(DUMP, 0, pattern(prefix))
    return build(found, prefix)


def build(found: list[Any], prefix: str) -> Census:
    """From what DUMP has returned."""
    census = Census()
    for key, kind, ttl_ms, value in found:
        name = text(key).removeprefix(prefix)
        census.ttl_ms[name] = ttl_ms
        _file(census, name, kind.decode(), value)
    return census


def _pairs(flat: list[bytes]) -> dict[str, int]:
    return {text(name): int(float(number)) for name, number in zip(flat[::2], flat[1::2], strict=True)}


def _fields(flat: list[bytes]) -> dict[str, bytes]:
    return {text(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


# How a key's value is read, by its first word and its type.
READ: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("job", "string"): bytes,
    ("line", "list"): lambda value: [text(one) for one in value],
    ("lines", "zset"): lambda value: [text(one) for one in value[::2]],
    ("active", "set"): lambda value: {text(one) for one in value},
    ("wake", "list"): len,
    ("schedule", "zset"): _pairs,
    ("workers", "zset"): _pairs,
    ("dead", "zset"): _pairs,
    ("lost", "hash"): _pairs,
    ("cancels", "hash"): lambda value: {text(one) for one in value[::2]},
    ("paused", "set"): lambda value: {text(one) for one in value},
    ("queues", "set"): lambda value: {text(one) for one in value},
    ("poller", "string"): bytes,
    ("fence", "string"): int,
    ("ended", "list"): lambda value: [text(one) for one in value],
    ("stats", "hash"): _fields,
    ("failures", "hash"): _fields,
}
FAMILIES = {
    "job": "records",
    "line": "lines",
    "lines": "index",
    "active": "active",
    "wake": "wake",
    "stats": "stats",
}


def _file(census: Census, name: str, kind: str, value: Any) -> None:
    part, _, rest = name.partition(":")
    if (part, kind) == ("worker", "hash"):
        census.cards.add(rest)
    elif (name, kind) == ("stats:folded", "string"):
        census.folded = int(value)
    elif (part, kind) not in READ:
        census.others.add(name)
    elif part in FAMILIES:
        getattr(census, FAMILIES[part])[rest] = READ[part, kind](value)
    else:
        setattr(census, part, READ[part, kind](value))


def complaints(census: Census) -> list[str]:
    """What can't be right in any store, whatever was done to it by its verbs."""
    return [*_places(census), *_ends_of_keys(census), *_index(census)]


def _places(census: Census) -> list[str]:
    """A waiting job has one place: a line, the schedule, or one worker's hands."""
    tickets = Counter(
        one
        for group in (*census.lines.values(), census.schedule, *census.active.values())
        for one in group
        if well_formed(one)
    )
    alive = Counter[str]()
    for one, times in tickets.items():
        parsed = parse_ticket(one)
        if header(census.records.get(parsed.job_id)) == ("w", parsed.generation):
            alive[parsed.job_id] += times
    waiting = {job_id for job_id, record in census.records.items() if (header(record) or " ")[0] == "w"}
    return [f"{job_id} has {alive[job_id]} places" for job_id in sorted(waiting) if alive[job_id] != 1]


def _ends_of_keys(census: Census) -> list[str]:
    """Whatever outlives its job has a TTL; whatever waits has none."""
    found: list[str] = []
    found += [
        f"{name} is kept for ever"
        for name in census.others
        if name.startswith(("aside:", "note:", "progress:")) and census.ttl_ms[name] < 0
    ]
    for name, ttl_ms in census.ttl_ms.items():
        part, _, rest = name.partition(":")
        if name in census.others:
            continue
        match part:
            case "job":
                read = header(census.records.get(rest))
                ends = ttl_ms > 0 if read and read[0] != "w" else ttl_ms == -1
                wanted = "none while it waits, one when it has ended"
            case "wake":
                ends, wanted = (
                    0 < ttl_ms <= TOKEN_TTL_MS + census.back_ms and census.wake.get(rest) in {1, 2},
                    "one token, or two, with a minute's TTL",
                )
            case "poller" | "dead" | "stats" | "failures":
                ends, wanted = ttl_ms > 0, "one"
            case _:
                ends, wanted = ttl_ms == -1, "none"
        if not ends:
            found.append(f"{name} has a TTL of {ttl_ms} ms; expected: {wanted}")
    found += [f"worker:{name} is no member of workers" for name in census.cards ^ set(census.workers)]
    found += [f"active:{name} is of no member of workers" for name in set(census.active) - set(census.workers)]
    return found


def _index(census: Census) -> list[str]:
    """`lines:<queue>` names exactly the lines that hold something, the suspects first."""
    wanted: dict[str, list[str]] = {}
    for line in sorted(census.lines, key=lambda line: (not line.endswith(":s"), line)):
        queue, place = line.split(":")
        wanted.setdefault(queue, []).append(place)
    return [] if wanted == census.index else [f"the lines are {wanted}, the index says {census.index}"]
