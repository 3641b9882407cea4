"""What a test may not leave behind: keys without an end, asyncio tasks, threads, processes.

The keys that may stay without a TTL, and why (ARCHITECTURE.md, the keys):

    fence, queues, paused   one each; bounded by the number of queues
    audit                   one; at most 10,000 entries
    job:<id>                while the job waits or runs: its ticket lies in exactly one place
    line:<line>             while it holds tickets
    lines:<queue>           while it names lines that hold tickets
    schedule                while it holds tickets
    workers                 while it has members
    worker:<id>, active:<id> while the worker is a member of `workers`
    lost, cancels           while they name jobs that wait or run

All else must have a TTL.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiotq.store.keys import PERMANENT

WHILE_IN_USE = frozenset({"schedule", "workers", "lost", "cancels"})


@dataclass(kw_only=True)
class Keyspace:
    """All keys of one namespace, without their prefix."""

    strings: dict[str, bytes] = field(default_factory=dict[str, bytes])  # only the jobs' records
    tickets: dict[str, list[str]] = field(default_factory=dict[str, list[str]])  # by key: lines, schedule, active
    members: dict[str, set[str]] = field(default_factory=dict[str, set[str]])  # the other sets, zsets and hashes
    endless: set[str] = field(default_factory=set[str])  # keys without a TTL


LOOK = {"string": ("GET",), "list": ("LRANGE",), "zset": ("ZRANGE",), "set": ("SMEMBERS",), "hash": ("HKEYS",)}
RANGES = {"LRANGE", "ZRANGE"}


async def _all(raw: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
    """The replies to many commands, in one round trip."""
    pipeline = raw.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return await pipeline.execute() if commands else []


async def read(raw: Any, prefix: str) -> Keyspace:
    """Read the keys with that prefix. raw: a redis.asyncio client."""
    space = Keyspace()
    keys = [key async for key in raw.scan_iter(match=_literal(prefix) + "*", count=1_000)]
    names = [_text(key).removeprefix(prefix) for key in keys]
    ttls_ms = await _all(raw, [("PTTL", key) for key in keys])
    space.endless.update(name for name, ttl_ms in zip(names, ttls_ms, strict=True) if ttl_ms == -1)
    kinds = [_text(kind) for kind in await _all(raw, [("TYPE", key) for key in keys])]
    looks = [
        (name, kind, (*LOOK[kind], key)) for name, kind, key in zip(names, kinds, keys, strict=True) if kind in LOOK
    ]
    ranges = [(*command, 0, -1) if command[0] in RANGES else command for _, _, command in looks]
    for (name, kind, _), found in zip(looks, await _all(raw, ranges), strict=True):
        if kind == "string":
            if name.startswith("job:"):
                space.strings[name.removeprefix("job:")] = found or b""
        elif name == "schedule" or (kind == "list" and name.startswith("line:")) or name.startswith("active:"):
            space.tickets[name] = [_text(value) for value in found]
        elif kind != "list":
            space.members[name] = {_text(value) for value in found}
    return space


async def leaked_keys(raw: Any, prefix: str) -> list[str]:
    """One line for each key, or entry of a key, that nothing would ever remove."""
    return find_leaks(await read(raw, prefix))


def find_leaks(space: Keyspace) -> list[str]:
    """The same, of keys that have been read."""
    live = {job_id for job_id, record in space.strings.items() if record[1:2] == b"w"}
    return [*_endless_keys(space), *_stray_jobs(space, live), *_stray_entries(space, live)]


def _endless_keys(space: Keyspace) -> list[str]:
    workers = space.members.get("workers", set())
    found: list[str] = []
    for name in sorted(space.endless):
        family, _, rest = name.partition(":")
        allowed = (
            name in PERMANENT
            or name in WHILE_IN_USE
            or (family == "job" and space.strings.get(rest, b"")[1:2] == b"w")
            or (family in {"line", "lines"} and rest != "")
            or (family in {"worker", "active"} and rest in workers)
        )
        if not allowed:
            found.append(f"{name}: has no TTL and is no permanent key")
    return found


def _stray_jobs(space: Keyspace, live: set[str]) -> list[str]:
    """A job that waits, and whose ticket does not lie in exactly one place."""
    places: Counter[str] = Counter()
    for tickets in space.tickets.values():
        for ticket in tickets:
            _, generation, job_id = _parse(ticket)
            record = space.strings.get(job_id, b"")
            if job_id in live and record[2:6].decode() == generation:
                places[job_id] += 1
    return [
        f"job:{job_id}: waits, but its ticket is in {places[job_id]} places"
        for job_id in sorted(live)
        if places[job_id] != 1
    ]


def _stray_entries(space: Keyspace, live: set[str]) -> list[str]:
    """Marks of jobs that are no more, and lines that no claim would find, or find empty."""
    found: list[str] = []
    for mark in ("lost", "cancels"):
        gone = space.members.get(mark, set()) - live
        found += [f"{mark}: still names {job_id}, which has ended or gone" for job_id in sorted(gone)]
    lines = {name.removeprefix("line:") for name in space.tickets if name.startswith("line:")}
    named = {
        f"{name.removeprefix('lines:')}:{place}"
        for name, places in space.members.items()
        if name.startswith("lines:")
        for place in places
    }
    found += [f"line:{line}: holds tickets, but no `lines` key names it" for line in sorted(lines - named)]
    found += [f"line:{line}: named by its `lines` key, but empty" for line in sorted(named - lines)]
    return found


def _parse(ticket: str) -> tuple[str, str, str]:
    """Line, generation and id; empty strings of what is no ticket."""
    parts = ticket.split(":", 3)
    return (f"{parts[0]}:{parts[1]}", parts[2], parts[3]) if len(parts) == 4 else ("", "", "")


def _literal(prefix: str) -> str:
    return "".join(f"\\{char}" if char in "[]*?\\" else char for char in prefix)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
