"""The server, as it says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.inspection.values import ServerInfo
from aiotq.inspection.vitals import number
from aiotq.store.facts import is_full

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiotq.store.inspection import Operator, Told

ASKED = ("save", "stop-writes-on-bgsave-error")  # of its settings; the rest INFO says


async def server(operator: Operator) -> ServerInfo:
    """What it says now."""
    return described(await operator.told(config=ASKED), operator.url)


def described(told: Told, url: str) -> ServerInfo:
    """In fields."""
    info = told.info
    return ServerInfo(
        kind=told.kind,
        version=info.get("valkey_version") or info.get("redis_version") or "",
        url=url,
        uptime_s=_number(info, "uptime_in_seconds"),
        memory=_number(info, "used_memory"),
        memory_limit=_number(info, "maxmemory") or None,
        policy=info.get("maxmemory_policy"),
        clients=_number(info, "connected_clients"),
        commands_a_second=_number(info, "instantaneous_ops_per_sec"),
        role=info.get("role"),
        persistence=persistence(told),
        ping_s=min(told.ping_s, default=None),
        writable=not refusal(told),
    )


def _number(info: Mapping[str, str], name: str) -> int | None:
    return number(info[name]) if name in info else None


def persistence(told: Told) -> str | None:
    """What it keeps on its disk."""
    said = told.info.get("aof_enabled")
    if said == "1":
        return "append-only file"
    if said is None or "save" not in told.config:
        return None
    return "snapshots" if told.config["save"] else "none"


def refusal(told: Told) -> str | None:
    """Why it takes no writes now, by the code of its answer; None: it takes them, or does not say."""
    info = told.info
    if info.get("loading") == "1":
        return "LOADING"
    if info.get("role") == "slave" and info.get("slave_read_only", "1") == "1":
        return "READONLY"
    if is_full(info):
        return "OOM"
    failed = info.get("rdb_last_bgsave_status", "ok") != "ok" and told.config.get("save") != ""
    if failed and told.config.get("stop-writes-on-bgsave-error") == "yes":
        return "MISCONF"
    return None
