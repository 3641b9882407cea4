"""What a worker makes of the answers to its look, where no server gives them on demand."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from aiotq.errors import StoreUnusable
from aiotq.store import scripts
from aiotq.store.connection.wire import Wire
from aiotq.store.vet import vet, wall_s

PREFIX, URL = "{shop}:", "redis://h"


class Answers:
    """In the place of a wire: to each write, the answers that are set, by command."""

    def __init__(self, *looks: dict[str, Any]) -> None:
        self._looks, self.asked = looks, 0

    def calls(self, *commands: tuple[Any, ...]) -> list[asyncio.Future[Any]]:
        look = self._looks[min(self.asked, len(self._looks) - 1)]
        self.asked += 1
        futures: list[asyncio.Future[Any]] = []
        for command in commands:
            future = asyncio.get_running_loop().create_future()
            answer = look.get(command[0], look.get(" ".join(command[:2]) if len(command) > 1 else "", b"OK"))
            future.set_exception(answer) if isinstance(answer, Exception) else future.set_result(answer)
            futures.append(future)
        return futures


def good(**others: Any) -> dict[str, Any]:
    clock = [str(int(wall_s())).encode(), b"0"]
    known = [1] * len(scripts.OTHERS)
    return {"INFO": b"aof_enabled:1", "EVALSHA": [clock], "CONFIG": [], "SCRIPT EXISTS": known, **others}


async def look(*looks: dict[str, Any]) -> tuple[list[str], int]:
    wire = Answers(*looks)
    return list(await vet(cast("Wire", wire), prefix=PREFIX, url=URL, role_counts=False)), wire.asked


async def test_where_all_is_well_nothing_is_said():
    assert await look(good()) == ([], 1)


async def test_a_script_that_somebody_flushes_just_now_is_loaded_again():
    flushed = good(EVALSHA=NoScriptError("No matching script"))

    assert await look(flushed, flushed, good()) == ([], 3)


async def test_a_server_that_forgets_scripts_for_ever_is_unusable():
    with pytest.raises(StoreUnusable, match="NOSCRIPT"):
        await look(good(EVALSHA=NoScriptError("No matching script")))


# As they stand in the replies of Redis 6.2; Redis 7 and Valkey; and of those that give the code in front.
@pytest.mark.parametrize(
    ("of_command", "of_key", "of_channel"),
    [
        (
            "The user executing the script can't run this command or subcommand",
            "The user executing the script can't access at least one of the keys mentioned in the command arguments",
            "The user executing the script can't publish to the channel mentioned in the command",
        ),
        (
            "ERR ACL failure in script: User u has no permissions to run the 'hset' command",
            "ERR ACL failure in script: No permissions to access a key",
            "ERR ACL failure in script: No permissions to access a channel",
        ),
        (
            "NOPERM ACL failure in script: User u has no permissions to run the 'hset' command",
            "NOPERM ACL failure in script: No permissions to access the 'x' key",
            "NOPERM ACL failure in script: No permissions to access the 'x' channel",
        ),
    ],
)
async def test_each_servers_words_for_a_missing_right_are_understood(of_command: str, of_key: str, of_channel: str):
    clock = good()["EVALSHA"][0]
    tried = [clock, b"HSET", of_command.encode(), b"GET", of_key.encode()]
    with pytest.raises(StoreUnusable) as caught:
        await look(good(EVALSHA=tried))
    assert "may not run HSET or use the keys {shop}:* at" in str(caught.value)
    assert str(caught.value).endswith("ACL SETUSER <user> +hset ~{shop}:*")

    [warning], _ = await look(good(EVALSHA=[clock, b"PUBLISH", of_channel.encode()]))
    assert warning.endswith("ACL SETUSER <user> &{shop}:*")


async def test_errors_that_are_not_about_rights_are_what_was_expected():
    clock = good()["EVALSHA"][0]
    tried = [clock, b"LLEN", b"WRONGTYPE Operation against a key", b"INCR", b"ERR value is not an integer"]

    assert await look(good(EVALSHA=tried, BLPOP=ResponseError("timeout is not a float"))) == ([], 1)


async def test_where_not_even_a_look_at_scripts_is_allowed_those_that_run_are_believed():
    no = NoPermissionError("User u has no permissions")
    may_not_ask = {"SCRIPT LOAD": no, "SCRIPT EXISTS": no, "INFO": no, "CONFIG": no}

    assert await look(good(**may_not_ask)) == ([], 1)
    with pytest.raises(StoreUnusable, match="does not know the scripts vet "):
        await look(good(**may_not_ask, EVALSHA=NoScriptError("No matching script")))
