"""redis+sentinel://: what the URL says, whom the sentinels name, and what is said where they name nobody."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from aiotq.errors import StoreRefused, StoreUnavailable, StoreUnusable, UsageError
from aiotq.store import connect
from aiotq.store.connection.sentinel import ASK_S, sentinels
from tests.faults.fake_server import SILENCE, Error, answering, sentinel, server
from tests.faults.sentinel_rig import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TIMEOUT_S = 5


# --- the URL --------------------------------------------------------------------------------------------------------


def read(url: str) -> Any:
    return sentinels(url, limit_s=1)


def test_all_that_a_url_can_say():
    said = read("redis+sentinel://ada:s%40crt@h1:7001,[::1],h3/jobs/3?sentinel_username=bob&sentinel_password=s%402")

    assert said.service == "jobs"
    assert said.hosts == [("h1", 7001), ("[::1]", 26379), ("h3", 26379)]
    assert dict(said.master.options) == {"username": "ada", "password": "s@crt", "db": 3}
    assert dict(said.ask.options) == {"username": "bob", "password": "s@2"}


def test_the_database_may_stand_in_the_query():
    assert read("redis+sentinel://h/jobs?db=4").master.options["db"] == 4


def test_with_tls_sentinels_and_master_are_verified_with_the_same_certificates():
    said = read("rediss+sentinel://h/jobs?ssl_ca_certs=/ca.pem")

    for route in (said.ask, said.master):
        assert route.options["ssl_ca_certs"] == "/ca.pem"
        assert route.options["ssl_cert_reqs"] == "required"
        assert route.options["ssl_check_hostname"] is True


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://h:1", "the path names the service"),
        ("redis+sentinel://h:1/", "the path names the service"),
        ("redis+sentinel://h:1/my jobs", "the path names the service"),
        ("redis+sentinel://h:1/jobs/x", "the number of a database"),
        ("redis+sentinel:///jobs", "the sentinels are host:port"),
        ("redis+sentinel://h:1,,h:2/jobs", "the sentinels are host:port"),
        ("redis+sentinel://h:0/jobs", "the sentinels are host:port"),
        ("redis+sentinel://h:1;h:2/jobs", "the sentinels are host:port"),
        ("redis+sentinel://:secret@h1:1,:secret@h2:1/jobs", "user and password stand once"),
        ("redis+sentinel://h/jobs?sentinel_pasword=secret", "did you mean sentinel_password?"),
        ("redis+sentinel://h/jobs?ssl_ca_certs=/ca.pem", "are for rediss://"),
        ("redis://h?sentinel_password=secret", "is for redis\\+sentinel://"),
    ],
)
def test_a_url_that_cant_be_right_is_refused_with_what_was_expected(url: str, said: str):
    with pytest.raises(UsageError, match=said) as raised:
        connect(url, namespace="test", connect_timeout_s=1)
    assert "expected" in str(raised.value) or "correct the URL" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert raised.value.__context__ is None


# --- whom they name -------------------------------------------------------------------------------------------------


class Harbour:
    """Fake servers, and a store that asks for the service `jobs` among some of them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.asked: list[int] = []  # ports of masters that were connected to

    async def port(self, answers: Any) -> int:
        return await self._stack.enter_async_context(answering(answers))

    async def master(self, role: str = "master") -> tuple[str, int]:
        told = server(role)
        ports: list[int] = []

        def answer(command: list[str]) -> Any:
            if command[0].upper() == "ROLE":
                self.asked.append(ports[0])
            return told(command)

        ports.append(await self.port(answer))
        return "127.0.0.1", ports[0]

    async def open(self, *ports: int, query: str = "") -> None:
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        store = connect(f"redis+sentinel://{hosts}/jobs{query}", namespace="test", connect_timeout_s=TIMEOUT_S)
        try:
            await store.open()
        finally:
            await store.close()


@pytest_asyncio.fixture
async def harbour() -> AsyncIterator[Harbour]:
    async with AsyncExitStack() as stack:
        yield Harbour(stack)


async def test_the_newest_answer_counts(harbour: Harbour):
    old, new = await harbour.master(), await harbour.master()
    behind = await harbour.port(sentinel(master=old, epoch=1))
    ahead = await harbour.port(sentinel(master=new, epoch=2))

    await harbour.open(behind, ahead)
    await harbour.open(ahead, behind)

    assert harbour.asked == [new[1]] * 2


async def test_one_sentinel_of_three_is_enough_and_a_silent_one_holds_nobody_up(harbour: Harbour):
    master = await harbour.master()
    one, other = await harbour.port(sentinel(master=master)), await harbour.port(sentinel(master=master))
    silent = await harbour.port(lambda _: SILENCE)
    began_s = asyncio.get_running_loop().time()

    await harbour.open(silent, one, other)

    assert asyncio.get_running_loop().time() - began_s < ASK_S  # which the silent one would cost
    await harbour.open(free_port(), free_port(), one)
    assert harbour.asked == [master[1]] * 2


async def test_no_sentinel_at_all_is_an_outage_and_names_each(harbour: Harbour):
    ports = (free_port(), free_port())

    with pytest.raises(StoreUnavailable, match="no sentinel answers: ") as caught:
        await harbour.open(*ports)

    assert all(f"127.0.0.1:{port} connection refused" in str(caught.value) for port in ports)
    assert "/jobs" in caught.value.url


async def test_a_service_that_no_sentinel_knows_yet_is_an_outage_and_those_known_are_named(harbour: Harbour):
    """They may be told of it later."""
    port = await harbour.port(sentinel(knows="mails"))

    with pytest.raises(StoreUnavailable, match="knows a service 'jobs', they know mails"):
        await harbour.open(port, free_port())


async def test_one_sentinel_that_knows_the_service_is_enough(harbour: Harbour):
    master = await harbour.master()

    await harbour.open(await harbour.port(sentinel(knows="mails")), await harbour.port(sentinel(master=master)))

    assert harbour.asked == [master[1]]


async def test_a_master_that_is_down_is_not_dialled(harbour: Harbour):
    master = await harbour.master()
    port = await harbour.port(sentinel(master=master, flags="master,s_down,o_down"))

    with pytest.raises(StoreUnavailable, match=f"hold the master 127.0.0.1:{master[1]} for down"):
        await harbour.open(port)

    assert harbour.asked == []


async def test_a_server_that_is_no_master_any_more_is_not_kept(harbour: Harbour):
    master = await harbour.master(role="slave")
    port = await harbour.port(sentinel(master=master))

    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{master[1]}, the master by the sentinels, is a replica now"):
        await harbour.open(port)

    assert harbour.asked == [master[1]]


async def test_a_user_who_may_not_ask_for_the_role_takes_the_sentinels_word(harbour: Harbour):
    told = server()
    port = await harbour.port(lambda words: Error("NOPERM no") if words[0] == "ROLE" else told(words))

    await harbour.open(await harbour.port(sentinel(master=("127.0.0.1", port))))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Error("NOAUTH Authentication required."), "answered (NOAUTH|WRONGPASS).*sentinel_password"),
        (Error("NOPERM this user has no permissions"), "answered NOPERM.*sentinel_password"),
        (Error("ERR unknown command `SENTINEL`, with args beginning with: `MASTER` `jobs`"), "is no sentinel"),
    ],
)
async def test_sentinels_that_will_never_answer_are_told_to_a_person(harbour: Harbour, answer: Any, said: str):
    port = await harbour.port(lambda words: answer if words[0] == "SENTINEL" else None)

    with pytest.raises(StoreUnusable, match=said):
        await harbour.open(port, free_port())


async def test_a_sentinel_that_is_crowded_is_none_and_the_others_are_asked(harbour: Harbour):
    master = await harbour.master()
    crowded = await harbour.port(lambda _: Error("ERR max number of clients reached"))

    await harbour.open(
        crowded, await harbour.port(sentinel(master=master)), await harbour.port(sentinel(master=master))
    )
    with pytest.raises(StoreUnavailable, match="no sentinel answers"):
        await harbour.open(crowded)

    assert harbour.asked == [master[1]]


async def test_a_master_that_is_cut_off_from_its_replicas_is_left_for_the_next_one(harbour: Harbour):
    """It goes on answering its clients, and is never demoted while the sentinels can't reach it."""

    def cut_off(words: list[str]) -> Any:
        return Error("NOREPLICAS Not enough good replicas to write.") if words[0] == "EVALSHA" else server()(words)

    masters = [("127.0.0.1", await harbour.port(cut_off)), await harbour.master()]
    answers = [sentinel(master=master, epoch=epoch) for epoch, master in enumerate(masters)]

    def watch(words: list[str]) -> Any:
        return answers[0](words)

    port = await harbour.port(watch)
    store = connect(f"redis+sentinel://127.0.0.1:{port}/jobs", namespace="test", connect_timeout_s=TIMEOUT_S)
    await store.open()
    del answers[0]

    with pytest.raises(StoreRefused):
        await store.renew("w1", lease_ms=1_000)
    await store.open()

    assert harbour.asked == [masters[1][1]]
    await store.close()


async def test_sentinels_and_master_get_each_their_own_log_in(harbour: Harbour):
    seen: dict[str, list[str]] = {}

    def noting(who: str, answers: Any) -> Any:
        def answer(words: list[str]) -> Any:
            if words[0] == "AUTH":
                seen[who] = words[1:]
            return answers(words)

        return answer

    master = await harbour.port(noting("master", server()))
    port = await harbour.port(noting("sentinel", sentinel(master=("127.0.0.1", master))))
    store = connect(
        f"redis+sentinel://ada:one@127.0.0.1:{port}/jobs?sentinel_username=bob&sentinel_password=two",
        namespace="test",
        connect_timeout_s=TIMEOUT_S,
    )
    await store.open()
    await store.close()

    assert seen == {"master": ["ada", "one"], "sentinel": ["bob", "two"]}
