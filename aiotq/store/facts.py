"""What a server's INFO says, and whether it can serve aiotq."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.errors import StoreRefused, StoreUnusable
from aiotq.store.contract import ServerFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDEST = {"Redis": (6, 2), "Valkey": (7, 2)}
# From where on each line of versions is without CVE-2025-49844, -46817, -46818 and -46819, by which a script may
# leave the script engine. Lines between these have no fix of their own, later ones have it from the start.
HOLES_CLOSED = {
    "Redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "Valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}
DAY_S = 86_400
FULL = 0.96  # of maxmemory: from there on one that has refused for its sake is full, each request taking memory itself


def parsed(info: bytes) -> dict[str, str]:
    """The fields of an INFO."""
    return dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)


def which(fields: Mapping[str, str]) -> tuple[str, str, tuple[int, ...]]:
    """Whether it is "Redis" or "Valkey", its version, and the numbers of that; none where INFO is silent."""
    kind = "Valkey" if fields.get("server_name") == "valkey" else "Redis"
    version = fields.get("valkey_version") or fields.get("redis_version") or ""
    return kind, version, tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def look(info: bytes, *, url: str) -> ServerFacts:
    """What the server is.

    Raises StoreUnusable for one that is too old, StoreRefused for a read-only replica and for one that loads its data.
    """
    fields = parsed(info)
    kind, version, numbers = which(fields)
    if not version:  # nobody says what it is: what can't serve will say so itself
        return ServerFacts(kind="Redis or Valkey", version="", url=url)
    if numbers and numbers[:2] < OLDEST[kind]:
        oldest = ".".join(map(str, OLDEST[kind]))
        raise StoreUnusable(
            f"{url} is {kind} {version}; {kind} {oldest} or newer was expected; upgrade it, or use embedded://",
            verb="connect",
            url=url,
        )
    if fields.get("role") == "slave" and fields.get("slave_read_only", "1") == "1":
        raise StoreRefused(
            f"{url} is a read-only replica; a primary was expected; point the URL at the primary",
            verb="connect",
            url=url,
            code="READONLY",
        )
    if fields.get("loading") == "1":  # which INFO answers all the same
        raise StoreRefused(
            f"{url} answered LOADING; a server that serves was expected; it is loading its data; wait",
            verb="connect",
            url=url,
            code="LOADING",
        )
    policy = fields.get("maxmemory_policy")
    warnings: list[str] = []
    if policy not in (None, "noeviction"):
        evicts = f"{url} may evict keys (maxmemory-policy {policy}), and jobs with them"
        warnings.append(f"{evicts}; run CONFIG SET maxmemory-policy noeviction")
    fixed = holes_closed(kind, numbers)
    if fixed is not None:
        warnings.append(
            f"{url} is {kind} {version}, whose script engine has known holes (CVE-2025-49844 and others): who may run "
            f"scripts there may take the server over; upgrade it to {fixed} or newer, unless its packager has mended it"
        )
    return ServerFacts(kind=kind, version=version, url=url, policy=policy, warnings=warnings)


def holes_closed(kind: str, numbers: tuple[int, ...]) -> str | None:
    """The version that a server with a known hole in its script engine should have; None: it is none of them."""
    if not numbers:
        return None
    for fixed in HOLES_CLOSED[kind]:
        if numbers < fixed:
            return ".".join(map(str, fixed))
        if numbers[:2] == fixed[:2]:
            return None
    return None


def is_full(fields: Mapping[str, str]) -> bool:
    """Whether it refuses every new job, having no memory for it, by what its INFO says."""
    limit = _number(fields, "maxmemory")
    if not limit or fields.get("maxmemory_policy", "noeviction") != "noeviction":
        return False
    used = _number(fields, "used_memory") - _number(fields, "mem_not_counted_for_evict")
    return used >= limit or (used >= FULL * limit and "errorstat_OOM" in fields)


def _number(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else 0


def forgetful(info: bytes, *, points: str | None, now_s: float, url: str) -> list[str]:
    """The line about a server that keeps nothing on its disk. points: when it saves; None: the user may not ask."""
    fields = parsed(info)
    if fields.get("aof_enabled") != "0":
        return []
    cure = "run CONFIG SET appendonly yes, and say so in its configuration"
    if points is None:
        unsaved, saved_s = fields.get("rdb_changes_since_last_save", "0"), fields.get("rdb_last_save_time", "")
        if unsaved == "0" or not saved_s.isdigit() or now_s - int(saved_s) < DAY_S:
            return []
        days = (now_s - int(saved_s)) / DAY_S
        return [f"{url} has saved nothing to its disk for {days:.0f} days: a restart loses its jobs; {cure}"]
    if points:
        return []
    return [f"{url} keeps nothing on its disk (no append-only file, no snapshots): a restart loses its jobs; {cure}"]
