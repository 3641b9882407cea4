"""An operator's reads over Redis: plain commands, each of them bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiotq.store.inspection import (
    HEAD,
    LOOK,
    MOST_FIELDS,
    MOST_HELD,
    MOST_QUEUES,
    MOST_WORKERS,
    RING,
    SHOWN,
    TAIL,
    WINDOW,
    Beside,
    Card,
    Line,
    Peek,
)
from aiotq.store.notes import MOST_LINES, MOST_PROGRESS
from aiotq.store.shapes import whole, word, words
from aiotq.store.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiotq.store.inspection import Scored

_CARD = ("label", "host", "pid", "queues", "started", "lease_ms", "vitals")
_MOST_FIELD = 64 << 10  # bytes of one of them; vitals are the longest
_MGET = 64  # records of at most SHOWN: 1 MiB
_LISTED = 512  # fields up to which a server keeps a hash as a list (hash-max-listpack-entries)
_SCANNED, _SCANS = 1_000, 40  # members of a set that one command looks through, and how many do at most
_SHARED = ("schedule", "dead", "workers", "queues", "paused", "lost", "cancels", "poller", "waits", "fence", "ended")
_PLACES = ("s", *map(str, range(10)))


class ReadingVerbs(Verbs):
    """An `inspection.Reading`, but for what it asks of the server as such."""

    async def now_ms(self) -> int:
        seconds, micros = await self._send("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def _key(self, name: str) -> str:
        return self._prefix + name

    # --- queues and workers -----------------------------------------------------------------------------------

    async def queue_names(self) -> Sequence[str]:
        return sorted(words(await self._members(self._key("queues"), MOST_QUEUES)))

    async def paused(self) -> Sequence[str]:
        return sorted(words(await self._members(self._key("paused"), MOST_QUEUES)))

    async def _members(self, key: str, most: int) -> list[bytes]:
        found, cursor = dict[bytes, None](), b"0"
        while len(found) < most:
            reply = await self._send("SSCAN", key, cursor, "COUNT", WINDOW)
            if reply is None:
                break
            cursor, some = reply
            found.update(dict.fromkeys(some))
            if int(cursor) == 0:
                break
        return list(found)[:most]

    async def lines(self, queues: Sequence[str]) -> Sequence[Line]:
        places = await self._send_all(("ZRANGE", self._key(f"lines:{queue}"), 0, 15) for queue in queues)
        named = [
            (queue, place)
            for queue, some in zip(queues, places, strict=True)
            for place in words(some or ())
            if place in _PLACES
        ]
        lengths = await self._send_all(("LLEN", self._key(f"line:{queue}:{place}")) for queue, place in named)
        return [
            Line(queue=queue, place=place, length=length)
            for (queue, place), length in zip(named, lengths, strict=True)
            if length
        ]

    async def workers(self) -> Sequence[Card]:
        rows: list[bytes] = await self._send("ZRANGE", self._key("workers"), 0, MOST_WORKERS - 1, "WITHSCORES") or []
        return await self._cards(dict(zip(words(rows[::2]), rows[1::2], strict=True)))

    async def card(self, worker_id: str) -> Card | None:
        end_ms = await self._send("ZSCORE", self._key("workers"), worker_id)
        return None if end_ms is None else (await self._cards({worker_id: end_ms}))[0]

    async def _cards(self, ends_ms: Mapping[str, bytes]) -> list[Card]:
        ids = list(ends_ms)
        cards = await self._send_all(("HMGET", self._key(f"worker:{worker_id}"), *_CARD) for worker_id in ids)
        held = await self._send_all(("SCARD", self._key(f"active:{worker_id}")) for worker_id in ids)
        return [
            Card(
                worker_id=worker_id,
                lease_end_ms=whole(end_ms),
                held=count or 0,
                fields={name: word(value) for name, value in zip(_CARD, card or (), strict=False) if _is_short(value)},
            )
            for worker_id, end_ms, card, count in zip(ids, ends_ms.values(), cards, held, strict=True)
        ]

    async def held(self, worker_id: str) -> Sequence[str]:
        return words(await self._members(self._key(f"active:{worker_id}"), MOST_HELD))

    # --- where jobs lie ---------------------------------------------------------------------------------------

    async def line(self, queue: str, place: str, first: int, last: int) -> Sequence[str]:
        return words(await self._send("LRANGE", self._key(f"line:{queue}:{place}"), first, last) or ())

    async def held_ending(self, worker_id: str, end: str) -> Sequence[str] | None:
        found = await self._ending("SSCAN", self._key(f"active:{worker_id}"), end)
        return None if found is None else words(found)

    async def scheduled_ending(self, end: str) -> Sequence[tuple[str, float]] | None:
        name = self._key("schedule")
        if (await self._send("ZCARD", name) or 0) > _SCANNED * _SCANS // 2:  # its table may be twice as large
            return None
        rows = await self._ending("ZSCAN", name, end)
        return None if rows is None else _scored(rows)

    async def _ending(self, scan: str, key: str, end: str) -> list[bytes] | None:
        cursor, found = b"0", list[bytes]()
        for _ in range(_SCANS):
            reply = await self._send(scan, key, cursor, "MATCH", f"*{end}", "COUNT", _SCANNED)
            if reply is None:
                return []
            cursor, some = reply
            found += some  # on to the end: an id may end as another one does
            if int(cursor) == 0:
                return found
        return None

    async def scheduled_at(self, tickets: Sequence[Sequence[str]]) -> Sequence[tuple[str, float]]:
        name = self._key("schedule")
        scores = await self._send_all(("ZMSCORE", name, *some) for some in tickets)
        return [
            (ticket, float(score))
            for some, row in zip(tickets, scores, strict=True)
            for ticket, score in zip(some, row or (), strict=False)
            if score is not None
        ]

    async def line_index(self, queue: str, place: str, ticket: str, *, from_front: bool = False) -> int | None:
        key = self._key(f"line:{queue}:{place}")
        return await self._send("LPOS", key, ticket, "RANK", 1 if from_front else -1, "MAXLEN", LOOK)

    async def scored(self, key: Scored, first: int, last: int, *, latest_first: bool) -> Sequence[tuple[str, float]]:
        name = self._key(key)
        if latest_first:
            rows: list[bytes] = await self._send("ZREVRANGE", name, first, last, "WITHSCORES") or []
        else:
            rows = await self._send("ZRANGE", name, first, last, "WITHSCORES") or []
        return _scored(rows)

    async def rank(self, key: Scored, member: str, *, latest_first: bool) -> tuple[int, float] | None:
        name = self._key(key)
        place = ("ZREVRANK", name, member) if latest_first else ("ZRANK", name, member)
        rank, score = await self._send_all([place, ("ZSCORE", name, member)])
        return None if rank is None or score is None else (rank, float(score))

    async def number(self, key: Scored, least: str = "-inf", most: str = "+inf") -> int:
        if (least, most) == ("-inf", "+inf"):
            return await self._send("ZCARD", self._key(key)) or 0
        return await self._send("ZCOUNT", self._key(key), least, most) or 0

    async def ring(self, first: int, last: int) -> Sequence[str]:
        return words(await self._send("LRANGE", self._key("ended"), first, last) or ())

    async def ring_index(self, entry: str) -> int | None:
        return await self._send("LPOS", self._key("ended"), entry, "MAXLEN", RING)

    # --- jobs -------------------------------------------------------------------------------------------------

    async def peek(self, job_ids: Sequence[str], *, small: bool = False) -> Sequence[Peek | None]:
        keys = [self._key(f"job:{job_id}") for job_id in job_ids]
        if small:
            chunks = [keys[first : first + _MGET] for first in range(0, len(keys), _MGET)]
            found = [data for chunk in chunks for data in await self._send("MGET", *chunk)]
        else:
            found = await self._send_all(("GETRANGE", key, 0, SHOWN) for key in keys)
        large = [key for key, data in zip(keys, found, strict=True) if data and len(data) > SHOWN]
        sizes = dict(zip(large, await self._send_all(("STRLEN", key) for key in large), strict=True))
        tails = dict(zip(large, await self._send_all(("GETRANGE", key, -TAIL, -1) for key in large), strict=True))
        return [
            None
            if not data
            else Peek(data, len(data))
            if key not in sizes
            else Peek(data[:HEAD], sizes[key] or 0, tails[key] or b"")
            for key, data in zip(keys, found, strict=True)
        ]

    async def exist(self, job_ids: Sequence[str]) -> Sequence[bool]:
        return list(map(bool, await self._send_all(("STRLEN", self._key(f"job:{job_id}")) for job_id in job_ids)))

    async def losses(self, job_ids: Sequence[str]) -> Sequence[int]:
        if not job_ids:
            return ()
        times = await self._send("HMGET", self._key("lost"), *job_ids)
        return [_number(value) for value in times or [None] * len(job_ids)]

    async def lost(self) -> Mapping[str, int]:
        return {word(job_id): _number(times) for job_id, times in (await self._hash(self._key("lost"))).items()}

    async def beside(self, job_id: str) -> Beside:
        ttl_ms, lost, notes, progress = await self._send_all(
            [
                ("PTTL", self._key(f"job:{job_id}")),
                ("HGET", self._key("lost"), job_id),
                ("LRANGE", self._key(f"note:{job_id}"), -MOST_LINES, -1),
                ("GETRANGE", self._key(f"progress:{job_id}"), 0, MOST_PROGRESS - 1),
            ]
        )
        return Beside(
            ttl_ms=ttl_ms if ttl_ms is not None and ttl_ms >= 0 else None,
            lost=_number(lost),
            notes=notes or (),
            progress=progress or None,
        )

    # --- what was counted -------------------------------------------------------------------------------------

    async def fields(self, keys: Sequence[str], names: Sequence[str]) -> Sequence[Mapping[str, int]]:
        # In a hash that is kept as a list each field is searched for: all of it is cheaper than many of them.
        sizes = await self._send_all(("HLEN", self._key(key)) for key in keys)
        listed = [key for key, size in zip(keys, sizes, strict=True) if size and size <= _LISTED]
        others = [key for key, size in zip(keys, sizes, strict=True) if size and size > _LISTED]
        rows = await self._send_all(("HGETALL", self._key(key)) for key in listed)
        some = await self._send_all(("HMGET", self._key(key), *names) for key in others)
        wanted = [name.encode() for name in names]
        found = {key: dict(zip(row[::2], row[1::2], strict=True)) for key, row in zip(listed, rows, strict=True) if row}
        found |= {key: dict(zip(wanted, row, strict=True)) for key, row in zip(others, some, strict=True) if row}
        return [_picked(found.get(key, {}), names, wanted) for key in keys]

    async def hashes(self, keys: Sequence[str]) -> Sequence[Mapping[str, int]]:
        sizes = await self._send_all(("HLEN", self._key(key)) for key in keys)
        there = [key for key, size in zip(keys, sizes, strict=True) if size]
        small = [key for key, size in zip(keys, sizes, strict=True) if size and size <= MOST_FIELDS]
        rows = await self._send_all(("HGETALL", self._key(key)) for key in small)
        found = {key: dict(zip(row[::2], row[1::2], strict=True)) for key, row in zip(small, rows, strict=True) if row}
        for key in there:
            if key not in found:
                found[key] = await self._hash(self._key(key))
        return [{word(name): _number(value) for name, value in found.get(key, {}).items()} for key in keys]

    async def _hash(self, key: str) -> dict[bytes, bytes]:
        found, cursor = dict[bytes, bytes](), b"0"
        while len(found) < MOST_FIELDS:
            reply = await self._send("HSCAN", key, cursor, "COUNT", WINDOW)
            if reply is None:
                break
            cursor, row = reply
            found.update(zip(row[::2], row[1::2], strict=True))
            if int(cursor) == 0:
                break
        return found

    async def failures(self) -> Mapping[str, bytes]:
        return {word(name): value for name, value in (await self._hash(self._key("failures"))).items()}

    async def audit(self, first: int, last: int) -> Sequence[bytes]:
        return await self._send("LRANGE", self._key("audit"), first, last) or ()

    async def audit_index(self, entry: bytes) -> int | None:
        return await self._send("LPOS", self._key("audit"), entry, "MAXLEN", RING)

    async def aside(self, queues: Sequence[str]) -> Sequence[str]:
        names = [*_SHARED, *(f"lines:{queue}" for queue in queues)]
        names += [f"line:{queue}:{place}" for queue in queues for place in _PLACES]
        if not await self._send("EXISTS", *(self._key(f"aside:{name}") for name in names)):  # as nearly always
            return []
        there = await self._send_all(("EXISTS", self._key(f"aside:{name}")) for name in names)
        return [f"aside:{name}" for name, one in zip(names, there, strict=True) if one]


def _scored(rows: Sequence[bytes]) -> list[tuple[str, float]]:
    """Members of a sorted set, each before its score."""
    return [(word(member), float(score)) for member, score in zip(rows[::2], rows[1::2], strict=True)]


def _picked(row: Mapping[bytes, bytes | None], names: Sequence[str], wanted: Sequence[bytes]) -> Mapping[str, int]:
    """Of a hash of counters, those fields that there are. wanted: the names as they are stored."""
    known = [(name, row.get(data)) for name, data in zip(names, wanted, strict=True)] if row else []
    return {name: _number(value) for name, value in known if value is not None}


def _is_short(value: Any) -> bool:
    return value is not None and len(value) <= _MOST_FIELD


def _number(value: bytes | None) -> int:
    """A counter that anybody may have written; what is none is 0."""
    try:
        return whole(value or b"0")
    except ValueError:
        return 0
