"""What `aiotq doctor` looks at: the server, its settings and its user, each with the line that mends it.

What may not be asked is a note, and no error: most users of a shared server may not read its settings.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiotq.errors import StoreError, parts
from aiotq.inspection import words
from aiotq.inspection.machine import persistence, refusal
from aiotq.inspection.values import Check, Severity
from aiotq.inspection.vitals import number
from aiotq.store.facts import holes_closed, which

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aiotq.inspection.desk import Desk
    from aiotq.store.inspection import Told

PINGS = 5
SLOW_S, VERY_SLOW_S = 0.02, 0.2
FAR_OFF_S = 5.0  # of two clocks
NEARLY = 0.9  # of memory, of clients
SLOW_SCRIPT_S = 0.01
# Settings, and from which value down they make many small lists and sets take several times the memory.
ENCODINGS: Mapping[str, int] = {
    "hash-max-listpack-entries": 64,
    "hash-max-ziplist-entries": 64,
    "zset-max-listpack-entries": 64,
    "zset-max-ziplist-entries": 64,
    "set-max-intset-entries": 64,
}
LIST_SIZES = ("list-max-listpack-size", "list-max-ziplist-size")
ASKED = (
    *("maxmemory-policy", "maxmemory", "appendonly", "appendfsync", "save", "stop-writes-on-bgsave-error"),
    *("maxclients", "timeout", "busy-reply-threshold", "lua-time-limit", "slowlog-log-slower-than"),
    *(*LIST_SIZES, *ENCODINGS),
)


async def checkup(desk: Desk) -> tuple[Check, ...]:
    """All of it."""
    operator = desk.operator
    before_s = _wall_s()
    now_ms = await operator.now_ms()
    after_s = _wall_s()
    told = await operator.told(config=ASKED, pings=PINGS)
    found = [*look(told, operator.url), *clock(now_ms / 1000, before_s=before_s, after_s=after_s)]
    found += scripts(await operator.slow(), told.cli)
    found.append(await _rights(desk, told.cli))
    return tuple(found)


def critical(told: Told, url: str) -> tuple[Check, ...]:
    """Of what the server has told, what is critical."""
    return tuple(check for check in look(told, url) if check.severity is Severity.CRITICAL)


def _wall_s() -> float:
    """This machine's clock, to compare: nothing is stored of it."""
    return datetime.now(UTC).timestamp()


def look(told: Told, url: str) -> Iterator[Check]:
    """At what the server has told."""
    if told.kind == "fakeredis":
        what = "fakeredis, inside this process: for tests, it keeps nothing"
        yield Check(severity=Severity.NOTE, name="server", what=what, fix="point AIOTQ_URL at a Redis or Valkey")
        return
    yield from _version(told)
    yield from _writes(told, url)
    if not told.info:
        what = "the Redis user may not run INFO: version, memory, persistence and clients are not known"
        yield Check(severity=Severity.NOTE, name="info", what=what, fix=f"{told.cli} ACL SETUSER USER +info")
    yield from _policy(told)
    yield from _memory(told)
    yield from _disk(told, url)
    yield from _clients(told)
    yield from _latency(told)
    yield from _encodings(told)


def _check(name: str, what: str, fix: str | None = None, severity: Severity | None = None) -> Check:
    return Check(severity=severity or (Severity.WARNING if fix else Severity.OK), name=name, what=what, fix=fix)


def _version(told: Told) -> Iterator[Check]:
    info = told.info
    version = info.get("valkey_version") or info.get("redis_version")
    if version:
        kind, _, numbers = which(info)
        fixed = holes_closed(kind, numbers)
        if fixed is None:
            yield _check("version", f"{told.kind} {version}")
        else:
            what = f"{told.kind} {version} has known holes in its script engine (CVE-2025-49844 and others)"
            yield _check("version", what, f"upgrade it to {fixed} or newer, unless its packager has mended it")


def _writes(told: Told, url: str) -> Iterator[Check]:
    more = words.roomy(number(told.info.get("maxmemory")), number(told.info.get("used_memory")))
    cures = {
        "OOM": (
            f"its memory is full ({_in_use(told)}): it refuses every new job",
            f"give it more: {told.cli} CONFIG SET maxmemory {more}; or make room (aiotq queues): aiotq purge QUEUE",
        ),
        "READONLY": (f"{url} is a read-only replica", f"point AIOTQ_URL at its primary; who that is: {told.cli} ROLE"),
        "LOADING": ("it is loading its data", f"wait; how far it is: {told.cli} INFO persistence"),
        "MISCONF": (
            "it can't save to its disk, and refuses every write",
            f"look at its log and its disk (df -h); then: {told.cli} BGSAVE",
        ),
    }
    code = refusal(told)
    if code is not None:
        what, fix = cures[code]
        yield _check("writes", what, fix, Severity.CRITICAL)
    elif told.info:
        yield _check("writes", "it takes writes")


def _policy(told: Told) -> Iterator[Check]:
    policy = told.config.get("maxmemory-policy") or told.info.get("maxmemory_policy")
    if policy is None:
        yield _unknown("maxmemory-policy", told.cli)
    elif policy == "noeviction":
        yield _check("maxmemory-policy", policy)
    else:
        what = f"{policy}: once it is full it throws keys away, and jobs with them"
        yield _check("maxmemory-policy", what, f"{told.cli} CONFIG SET maxmemory-policy noeviction", Severity.CRITICAL)


def _memory(told: Told) -> Iterator[Check]:
    info = told.info
    if "used_memory" not in info:
        return
    used, limit, machine = (number(info.get(name)) for name in ("used_memory", "maxmemory", "total_system_memory"))
    if not limit:
        what = f"{_mib(used)} in use, and no limit: it may grow until the system ends it"
        half = max(1, machine >> 21) if machine else 1_024
        yield _check("memory", what, f"{told.cli} CONFIG SET maxmemory {half}mb", Severity.NOTE)
    elif used < NEARLY * limit:
        yield _check("memory", _in_use(told))
    elif refusal(told) != "OOM":  # else it has been said
        yield _check("memory", _in_use(told), f"{told.cli} CONFIG SET maxmemory {words.roomy(limit, used)}")


def _in_use(told: Told) -> str:
    used, limit = number(told.info.get("used_memory")), number(told.info.get("maxmemory"))
    return f"{_mib(used)} of {_mib(limit)} in use" + (f", {used / limit:.0%}" if limit else "")


def _disk(told: Told, url: str) -> Iterator[Check]:
    info, config = told.info, told.config
    kept = persistence(told)
    appends = f"{told.cli} CONFIG SET appendonly yes; and for good, in its configuration file: appendonly yes"
    if kept is None:
        if info:
            yield _unknown("persistence", told.cli)
    elif kept == "none":
        what = "it keeps nothing on its disk: a restart loses every job"
        yield _check("persistence", what, appends, Severity.CRITICAL)
    elif kept == "snapshots":
        what = f"snapshots only (save {config['save']}): a crash loses what came since the last one"
        yield _check("persistence", what, appends)
    elif config.get("appendfsync") == "no" and url.startswith("embedded:"):  # as its guardian has set it
        what = "append-only file, which the built-in server's guardian brings to the disk once a second"
        yield _check("persistence", what, None, Severity.NOTE)
    elif config.get("appendfsync") == "no":
        what = "append-only file, written to the disk when the system likes (appendfsync no)"
        yield _check("persistence", what, f"{told.cli} CONFIG SET appendfsync everysec")
    else:
        said = config.get("appendfsync")
        yield _check("persistence", f"append-only file{f' (appendfsync {said})' if said else ''}")
    for name, what in (
        ("rdb_last_bgsave_status", "snapshot"),
        ("aof_last_write_status", "write of the append-only file"),
    ):
        if info.get(name, "ok") != "ok":
            fix = "look at its log and its disk: df -h"
            yield _check("persistence", f"its last {what} failed", fix, Severity.CRITICAL)


def _clients(told: Told) -> Iterator[Check]:
    now = told.info.get("connected_clients")
    if now is None:
        return
    most = number(told.info.get("maxclients") or told.config.get("maxclients"))
    what = f"{number(now):,} connected" + (f", of {most:,} at most" if most else "")
    if most and number(now) >= NEARLY * most:
        yield _check("clients", what, f"{told.cli} CONFIG SET maxclients {most * 2}")
    else:
        yield _check("clients", what)


def _latency(told: Told) -> Iterator[Check]:
    best_s, worst_s = min(told.ping_s), max(told.ping_s)
    what = f"a PING takes {best_s * 1000:.1f} ms ({worst_s * 1000:.1f} ms at worst, of {len(told.ping_s)})"
    if best_s < SLOW_S:
        yield _check("latency", what)
    else:
        severity = Severity.CRITICAL if best_s >= VERY_SLOW_S else Severity.WARNING
        fix = f"bring workers and server nearer to each other; to measure it: {told.cli} --latency"
        yield _check("latency", what, fix, severity)


def _encodings(told: Told) -> Iterator[Check]:
    low = [
        (name, value) for name, value in told.config.items() if name in ENCODINGS and number(value) < ENCODINGS[name]
    ]
    for name, value in low:
        what = f"{name} is {value}: small sets and hashes take several times the memory"
        yield _check("encodings", what, f"{told.cli} CONFIG SET {name} 128")
    for name in LIST_SIZES:
        value = told.config.get(name)
        if value is not None and value in {"-1", *map(str, range(1, 64))}:
            what = f"{name} is {value}: long queues take more memory"
            low.append((name, value))
            yield _check("encodings", what, f"{told.cli} CONFIG SET {name} -2")
    if not low and any(name in told.config for name in (*ENCODINGS, *LIST_SIZES)):
        yield _check("encodings", "lists, sets and hashes are kept small")


def _unknown(name: str, cli: str) -> Check:
    what = "not known: the Redis user may not ask (CONFIG GET)"
    return _check(name, what, f"{cli} CONFIG GET {name if name != 'persistence' else 'save'}", Severity.NOTE)


def clock(server_s: float, *, before_s: float, after_s: float) -> Iterator[Check]:
    """The server's clock was read between the two looks at this machine's."""
    ahead_s = max(server_s - after_s, 0.0) or min(server_s - before_s, 0.0)
    if abs(ahead_s) <= FAR_OFF_S:
        yield _check("clock", f"within {max(0.1, abs(ahead_s)):.1f} s of this machine's")
    else:
        where = "ahead of" if ahead_s > 0 else "behind"
        what = f"{abs(ahead_s):,.0f} s {where} this machine's: jobs with an eta start at another time than meant"
        yield _check("clock", what, "set both clocks by NTP: timedatectl set-ntp true")


def scripts(slow: Sequence[tuple[str, float]] | None, cli: str = "redis-cli") -> Iterator[Check]:
    """What the slow log has of this namespace's commands."""
    if slow is None:
        return
    late = [seconds for _, seconds in slow if seconds >= SLOW_SCRIPT_S]
    if late:
        least, most = SLOW_SCRIPT_S * 1000, max(late) * 1000
        what = f"{len(late)} of aiotq's commands took {least:.0f} ms or more, {most:,.0f} ms at worst"
        fix = f"give the server a core of its own; which they are: {cli} SLOWLOG GET 20"
        yield _check("slow commands", what, fix, Severity.NOTE)
    else:
        yield _check("slow commands", "none of aiotq's in the slow log")


async def _rights(desk: Desk, cli: str) -> Check:
    """Whether this user may do what a worker does."""
    try:
        facts = await desk.store.vet()
    except StoreError as error:
        code = getattr(error, "code", None)
        if code is not None and code != "NOPERM":
            return _check("rights", f"not tried: {error}", None, Severity.NOTE)
        return _check(
            "rights",
            "this user may not work (a worker could not run as it); as a look from outside it need not",
            f"docs/acl.md has what each user needs; {_grant(str(error), cli)}",
            Severity.NOTE,
        )
    late = [line for line in facts.warnings if "may not" in line]
    if late:
        return _check("rights", parts(late[0])[0], _grant(late[0], cli))
    return _check("rights", "this user may do all that a worker does")


def _grant(said: str, cli: str) -> str:
    """The line that gives the right that an error or a warning says is missing."""
    cure = parts(said)[-1].removeprefix("run ").replace("<user>", "USER")
    return f"{cli} {cure}" if cure.startswith("ACL ") else cure


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
