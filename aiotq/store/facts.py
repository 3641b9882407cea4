"""What a server's INFO says, and whether it can serve aiotq."""

from __future__ import annotations

from aiotq.errors import StoreRefused, StoreUnusable
from aiotq.store.contract import ServerFacts

OLDEST = {"Redis": (6, 2), "Valkey": (7, 2)}


def look(info: bytes, *, url: str) -> ServerFacts:
    """What the server is. Raises StoreUnusable for one that is too old, StoreRefused for a read-only replica."""
    fields = dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)
    kind = "Valkey" if fields.get("server_name") == "valkey" else "Redis"
    version = fields.get("valkey_version") or fields.get("redis_version") or ""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST[kind]:
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
    policy = fields.get("maxmemory_policy")
    warnings: tuple[str, ...] = ()
    if policy not in (None, "noeviction"):
        evicts = f"{url} may evict keys (maxmemory-policy {policy}), and jobs with them"
        warnings = (f"{evicts}; run CONFIG SET maxmemory-policy noeviction",)
    return ServerFacts(kind=kind, version=version, url=url, policy=policy, warnings=warnings)
