"""What a worker looks at before it works: a right that is missing is named, and nothing is left of the look."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.errors import StoreRefused, StoreUnusable
from aiotq.store import connect, scripts, vet
from aiotq.store.contract import WorkerCard
from tests import servers
from tests.conftest import CONNECT_TIMEOUT_S
from tests.rights import user, without
from tools import acl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aiotq.store.contract import Store
    from tests.servers import Server

pytestmark = pytest.mark.parametrize("server", ["valkey", "redis"], indirect=True)
HINTS = frozenset({"PING", "PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE"})
NEEDED = sorted(
    acl.commands("worker") - HINTS - acl.LOOKS - {"SCRIPT LOAD", "ZCARD"}
)  # the last is for `aiotq health` alone
HOUR_S = 3_600


class Site:
    """A server, a namespace, and users with more or fewer rights to it."""

    def __init__(self, server: Server, raw: Any, namespace: str) -> None:
        self.server, self.raw, self.namespace = server, raw, namespace
        self.prefix = f"{{{namespace}}}:"

    @asynccontextmanager
    async def store(self, commands: Iterable[str] = acl.commands("worker"), **others: str) -> AsyncIterator[Store]:
        async with user(self.raw, self.server, self.namespace, commands, **others) as url:
            store = connect(url, namespace=self.namespace, connect_timeout_s=CONNECT_TIMEOUT_S)
            yield store
            await store.close()

    async def refusal(self, commands: Iterable[str] = acl.commands("worker"), **others: str) -> str:
        """What such a user is told."""
        async with self.store(commands, **others) as store:
            with pytest.raises(StoreUnusable) as caught:
                await store.vet()
        return str(caught.value)

    async def left(self) -> dict[str, int]:
        """The namespace's keys and how many ms each still has; -1: no end."""
        keys = await self.raw.keys(self.prefix.replace("{", "\\{") + "*")
        return {key.decode(): await self.raw.pttl(key) for key in keys}


@pytest.fixture
def site(server: Server, raw: Any, namespace: str) -> Site:
    return Site(server, raw, namespace)


def about(warnings: Iterable[str], words: str) -> list[str]:
    return [warning for warning in warnings if words in warning]


async def test_the_published_user_lacks_nothing_and_nothing_is_left(site: Site) -> None:
    async with site.store() as store:
        facts = await store.vet()

    assert about(facts.warnings, "may not") == []
    assert await site.left() == {}


async def test_each_right_that_is_missing_is_named_and_nothing_is_left(site: Site) -> None:
    for command in NEEDED:
        said = await site.refusal(without(command))

        assert f"may not run {command} at" in said
        assert said.endswith(f"run ACL SETUSER <user> +{command.lower()}")
        left = await site.left()
        # Who may not remove the one key that is tried leaves it to its TTL.
        assert [ms for ms in left.values() if not 0 < ms <= 1_000] == []
        assert len(left) <= (command == "DEL"), f"without {command}"
        await site.raw.delete(*left or ["nothing"])


async def test_all_that_is_missing_is_named_at_once(site: Site) -> None:
    said = await site.refusal(without("HINCRBY", "ZREVRANGEBYSCORE", "BLPOP"))

    assert "may not run BLPOP, HINCRBY, ZREVRANGEBYSCORE at" in said
    assert said.endswith("ACL SETUSER <user> +blpop +hincrby +zrevrangebyscore")


async def test_keys_that_may_not_be_used_are_named(site: Site) -> None:
    said = await site.refusal(keys="other:*")

    assert f"may not use the keys {site.prefix}* at" in said
    assert said.endswith(f"ACL SETUSER <user> ~{site.prefix}*")


@pytest.mark.parametrize("commands", [["PUBLISH"], ["SUBSCRIBE"], ["PING", "UNSUBSCRIBE"]])
async def test_without_a_right_to_hints_a_worker_is_warned_and_works(site: Site, commands: list[str]) -> None:
    async with site.store(without(*commands)) as store:
        facts = await store.vet()
        assert await store.register(
            WorkerCard(worker_id="w", label="w", host="h", pid=1, queues=["mail"], lease_ms=1_000)
        )
        await store.retire("w")

    [warning] = about(facts.warnings, "may not")
    assert f"may not run {', '.join(commands)} at" in warning
    assert warning.endswith("ACL SETUSER <user> " + " ".join(f"+{command.lower()}" for command in commands))


async def test_channels_that_may_not_be_used_are_a_warning(site: Site) -> None:
    async with site.store(channels="other:*") as store:
        facts = await store.vet()

    [warning] = about(facts.warnings, "may not")
    assert f"may not use the channels {site.prefix}* at" in warning
    assert warning.endswith(f"ACL SETUSER <user> &{site.prefix}*")


async def test_who_comes_by_sentinels_and_may_not_ask_for_the_role_is_warned(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiotq.store.redis.SENTINEL_SCHEMES", ("unix://",))  # as if it came by them
    async with site.store() as store:
        facts = await store.vet()
    async with site.store({*acl.commands("worker"), "ROLE"}) as store:
        assert about((await store.vet()).warnings, "ROLE") == []

    [warning] = about(facts.warnings, "ROLE")
    assert warning.endswith("so that a master that is none any more is noticed late; run ACL SETUSER <user> +role")


async def test_who_may_not_look_at_the_server_is_not_troubled(site: Site) -> None:
    async with site.store(without(*acl.LOOKS)) as store:
        facts = await store.vet()

    assert (facts.kind, facts.version, list(facts.warnings)) == ("Redis or Valkey", "", [])


async def test_who_may_not_load_scripts_works_with_those_that_are_there(site: Site) -> None:
    for script in scripts.ALL:
        await site.raw.script_load(script.text)

    async with site.store(without("SCRIPT LOAD")) as store:
        facts = await store.vet()

    assert about(facts.warnings, "load") == []


async def test_scripts_that_are_not_there_and_may_not_be_loaded_are_named(site: Site) -> None:
    await site.raw.script_flush()
    for script in scripts.ALL:
        if script not in (scripts.EXCHANGE, scripts.RECLAIM):
            await site.raw.script_load(script.text)

    said = await site.refusal(without("SCRIPT LOAD"))

    assert "does not know the scripts exchange, reclaim of this version" in said
    assert said.endswith("ACL SETUSER <user> +script|load")


async def test_a_server_that_writes_nothing_now_is_waited_for(site: Site) -> None:
    await site.raw.config_set("min-replicas-to-write", 1)
    try:
        async with site.store() as store:
            with pytest.raises(StoreRefused) as caught:
                await store.vet()
    finally:
        await site.raw.config_set("min-replicas-to-write", 0)

    assert caught.value.code == "NOREPLICAS"


async def test_a_server_that_keeps_nothing_on_its_disk_is_warned_of(store: Store, raw: Any) -> None:
    assert about((await store.vet()).warnings, "disk") == []

    await raw.config_set("save", "")
    try:
        [warning] = about((await store.vet()).warnings, "disk")
    finally:
        await raw.config_set("save", " ".join(servers.KEEPS[1:]))

    assert "appendonly yes" in warning


@pytest.mark.parametrize(("shift_s", "said"), [(0, None), (-HOUR_S, "s ahead of"), (HOUR_S, "s behind")])
async def test_a_clock_that_is_far_off_is_warned_of(
    store: Store, monkeypatch: pytest.MonkeyPatch, shift_s: float, said: str | None
) -> None:
    real = vet.wall_s
    monkeypatch.setattr(sys.modules[vet.__name__], "wall_s", lambda: real() + shift_s)

    warnings = about((await store.vet()).warnings, "clock")

    assert len(warnings) == (said is not None)
    assert said is None or said in warnings[0]


async def test_the_look_costs_one_connection_and_a_few_commands(site: Site) -> None:
    async with site.store() as store:
        await store.vet()
        before = await site.raw.info("stats")
        await store.vet()
        after = await site.raw.info("stats")

    assert after["total_connections_received"] - before["total_connections_received"] == 1
    assert await site.left() == {}
