"""What `aiotq doctor` looks at: each finding with the line that mends it, as far as the user's rights go."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from aiotq import App
from aiotq.inspection import Check, Severity
from aiotq.inspection.checkup import clock, look, scripts
from aiotq.store.inspection import Told
from tests import rights, servers

if TYPE_CHECKING:
    from pathlib import Path

    from aiotq import Inspector

WELL = {
    "redis_version": "7.4.9", "used_memory": "1000000", "maxmemory": "100000000", "maxmemory_policy": "noeviction",
    "aof_enabled": "1", "connected_clients": "10", "maxclients": "10000", "role": "master", "loading": "0",
}  # fmt: skip


def told(info: dict[str, str] | None = None, config: dict[str, str] | None = None, ping_s: float = 0.0001) -> Told:
    return Told(kind="Redis", info=WELL | (info or {}), config=config or {}, ping_s=[ping_s])


def named(checks: Any, name: str) -> Check:
    [found] = [check for check in checks if check.name == name]
    return found


CASES: list[tuple[Told, str, Severity, str | None]] = [
    (told(), "version", Severity.OK, None),
    (told({"redis_version": "7.2.1"}), "version", Severity.WARNING, "upgrade it to 7.2.11"),
    (told(), "writes", Severity.OK, None),
    (told({"used_memory": "97000000", "errorstat_OOM": "count=7"}), "writes", Severity.CRITICAL,
     "CONFIG SET maxmemory"),
    (told({"used_memory": "97000000"}), "writes", Severity.OK, None),
    (told({"used_memory": "100000000"}), "writes", Severity.CRITICAL, "CONFIG SET maxmemory"),
    (told({"role": "slave"}), "writes", Severity.CRITICAL, "point AIOTQ_URL at its primary"),
    (told({"maxmemory_policy": "allkeys-lru"}), "maxmemory-policy", Severity.CRITICAL,
     "CONFIG SET maxmemory-policy noeviction"),
    (told({"used_memory": "95000000"}), "memory", Severity.WARNING, "CONFIG SET maxmemory 191mb"),
    (told({"maxmemory": "0", "total_system_memory": str(8 << 30)}), "memory", Severity.NOTE, "maxmemory 4096mb"),
    (told(), "memory", Severity.OK, None),
    (told({"aof_enabled": "0"}, {"save": ""}), "persistence", Severity.CRITICAL, "CONFIG SET appendonly yes"),
    (told({"aof_enabled": "0"}, {"save": "3600 1"}), "persistence", Severity.WARNING, "CONFIG SET appendonly yes"),
    (told({"aof_enabled": "0"}), "persistence", Severity.NOTE, "redis-cli CONFIG GET save"),
    (told(None, {"appendfsync": "no"}), "persistence", Severity.WARNING, "CONFIG SET appendfsync everysec"),
    (told({"connected_clients": "9500"}), "clients", Severity.WARNING, "CONFIG SET maxclients 20000"),
    (told(ping_s=0.05), "latency", Severity.WARNING, "nearer"),
    (told(ping_s=0.5), "latency", Severity.CRITICAL, "nearer"),
    (told(None, {"hash-max-listpack-entries": "8"}), "encodings", Severity.WARNING,
     "CONFIG SET hash-max-listpack-entries 128"),
    (told(None, {"list-max-listpack-size": "1"}), "encodings", Severity.WARNING,
     "CONFIG SET list-max-listpack-size -2"),
    (told(None, {"list-max-listpack-size": "-2"}), "encodings", Severity.OK, None),
]  # fmt: skip


@pytest.mark.parametrize(("said", "name", "severity", "fix"), CASES)
def test_a_fault_comes_with_the_line_that_mends_it(said: Told, name: str, severity: Severity, fix: str | None) -> None:
    found = named(look(said, "redis://host"), name)
    assert found.severity is severity
    assert found.fix is None if fix is None else fix in (found.fix or "")


def test_what_aiotq_itself_has_set_at_the_built_in_server_is_no_fault() -> None:
    found = named(look(told(None, {"appendfsync": "no"}), "embedded:///home/ada/.aiotq"), "persistence")
    assert (found.severity, found.fix) == (Severity.NOTE, None)


def test_a_clock_that_is_far_off_is_told() -> None:
    [fine] = clock(100.0, before_s=99.9, after_s=100.1)
    [ahead] = clock(200.0, before_s=99.9, after_s=100.1)
    [behind] = clock(10.0, before_s=99.9, after_s=100.1)
    assert (fine.severity, ahead.severity) == (Severity.OK, Severity.WARNING)
    assert "100 s ahead of" in ahead.what
    assert "90 s behind" in behind.what


def test_slow_commands_are_a_note() -> None:
    assert [check.severity for check in scripts([("EVALSHA", 0.5)])] == [Severity.NOTE]
    assert [check.severity for check in scripts([("EVALSHA", 0.001)])] == [Severity.OK]
    assert not list(scripts(None))


async def test_a_server_is_looked_at_as_far_as_the_user_may(look: Inspector, server: servers.Server) -> None:
    found = await look.checkup()
    names = {check.name for check in found}
    assert {"clock", "rights"} <= names
    if server.kind == "memory":
        return
    assert {"version", "writes", "maxmemory-policy", "memory", "persistence", "clients", "latency"} <= names
    assert not [check for check in found if check.severity is Severity.CRITICAL and check.name != "version"]
    if server.kind == "acl":
        assert named(found, "persistence").severity is Severity.NOTE
        assert named(found, "rights").severity is Severity.NOTE
    else:
        assert named(found, "persistence").severity is Severity.WARNING, "the tests' servers keep snapshots"
        assert named(found, "rights").severity is Severity.OK


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_user_with_no_right_to_ask_anything_gets_notes(
    raw: Any, server: servers.Server, namespace: str
) -> None:
    async with rights.user(raw, server, namespace, {"TIME", "PING"}) as url, App(url, namespace=namespace) as app:
        found = await app.inspect.checkup()
        assert (named(found, "info").fix or "").endswith(" ACL SETUSER USER +info")
        assert named(found, "rights").severity is Severity.NOTE
        assert not [check for check in found if check.severity is Severity.CRITICAL]


async def test_a_full_server_is_told_by_overview_and_doctor(server_folder: Path) -> None:
    with servers.running("valkey", server_folder, "--maxmemory", "2mb") as server:
        async with App(server.url) as app:

            @app.task(name="t")
            async def t(text: str) -> None: ...

            with pytest.raises(Exception, match="memory is full"):
                while True:
                    await t.delay("x" * 1_000)
            overview = await app.inspect.overview()
            assert overview.severity is Severity.CRITICAL
            assert overview.findings[0].code == "server_oom"
            assert not overview.server.writable
            path = server.url.removeprefix("unix://")
            line = rf"redis-cli -s {path} CONFIG SET maxmemory \dmb; or make room"
            assert re.search(f": {line}", overview.findings[0].hint)
            found = await app.inspect.checkup()
            [full] = [check for check in found if check.fix and "maxmemory " in check.fix]
            assert (full.name, full.severity) == ("writes", Severity.CRITICAL), "it is said once"
            assert re.search(f": {line}", full.fix or "")
            assert overview.queues[0].waiting > 0
            assert (await app._core.client().store.survey()).full


async def test_a_server_that_keeps_nothing_on_its_disk_is_told_by_overview_and_doctor(server_folder: Path) -> None:
    with servers.running("valkey", server_folder, "--save", "") as server:
        async with App(server.url) as app:
            [found] = [one for one in (await app.inspect.overview()).findings if one.code == "server_disk"]
            assert found.severity is Severity.WARNING
            assert found.hint.startswith(f"redis-cli -s {server.url.removeprefix('unix://')} CONFIG SET appendonly yes")
            assert "aiotq doctor" in found.hint
            assert named(await app.inspect.checkup(), "persistence").severity is Severity.CRITICAL


async def test_a_server_that_has_become_a_replica_is_told_by_overview(server_folder: Path) -> None:
    with servers.running("valkey", server_folder) as server:
        async with App(server.url) as app, Redis.from_url(server.url) as raw:
            assert (await app.inspect.server()).writable
            await raw.replicaof("127.0.0.1", 1)
            overview = await app.inspect.overview()
            assert overview.findings[0].code == "server_readonly"
            assert (overview.server.role, overview.server.writable) == ("slave", False)
            assert named(await app.inspect.checkup(), "writes").severity is Severity.CRITICAL
