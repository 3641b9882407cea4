"""redis+sentinel://: the sentinels are asked anew for each connection where the master of their service is.

All are asked at once; as soon as most of them have answered, the newest answer counts (its config-epoch grows with each
failover), so one that is down, cut off or behind costs nothing and misleads nobody. Then the server itself has to say
that it is a master: one that has just lost that role is not kept.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from aiotq.errors import StoreError, StoreUnusable
from aiotq.store.answers import code
from aiotq.store.connection import tls
from aiotq.store.connection.handshake import Route, drop
from aiotq.store.connection.route import OF_SENTINELS, checked, read, wrong
from aiotq.store.connection.wire import BROKEN
from aiotq.store.url import redact
from aiotq.store.words import cause

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

log = logging.getLogger("aiotq.store.connection.sentinel")

SCHEMES = ("redis+sentinel://", "rediss+sentinel://")
FORM = "redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/service[/db][?sentinel_password=...]"
PORT = 26379
ASK_S = 2.0  # a sentinel that has not answered by then is left out
MOST_NAMES = 5
_SERVICE = re.compile(r"[\w.-]+")  # as Sentinel allows
_HOST = re.compile(r"(\[[\w:.%]+\]|[\w.-]+)(?::(\d{1,5}))?")
_masters: dict[str, tuple[str, int]] = {}  # by URL without passwords: where each service's master was last
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one sentinel came to."""

    master: tuple[str, int] | None = None
    epoch: int = -1  # grows with each failover of the service
    down: bool = False  # most sentinels agree that the master is: they choose another one
    names: tuple[str, ...] | None = None  # the services that it knows, if this is none of them
    trouble: str = ""  # why it has not answered
    hopeless: StoreUnusable | None = None  # the same, if that will not mend itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinels:
    """Those of one service."""

    service: str
    hosts: Sequence[tuple[str, int]]
    ask: Route  # to a sentinel, but for its host and port
    master: Route  # to the master, but for the same

    async def connected(self) -> AbstractConnection:
        """Connect to the master. Raises as Route.connected; no sentinel, or no master, is a server that is away."""
        await tls.load(self.ask.made(), url=self.master.url)  # once, and not at the sentinels' expense
        host, port = await self._find()
        server = self.master.to(host, port, whom=f"the master {host}:{port} of {self.master.url}")
        connection: AbstractConnection | None = None
        away = ""
        try:
            connection = await server.connected()
        except BROKEN as error:
            away = cause(str(error))
        if connection is None:
            raise RedisConnectionError(f"the master {host}:{port} by the sentinels: {away}")
        try:
            async with asyncio.timeout(server.limit_s):
                role = await _role(connection)
        except TimeoutError:
            await drop(connection)
            raise RedisTimeoutError(f"{host}:{port}, the master by the sentinels, did not say its role") from None
        except BaseException:
            await drop(connection)
            raise
        if role != "master":
            await drop(connection)
            raise RedisConnectionError(f"{host}:{port}, the master by the sentinels, is a {role} now")
        self._notice(host, port)
        return connection

    # --- asking -------------------------------------------------------------------------------------------------

    async def _find(self) -> tuple[str, int]:
        """Where the master is, by the newest answer of most sentinels."""
        answers: list[Answer] = []
        async with asyncio.TaskGroup() as group:
            # Children of this group: those that are not waited for any more are cancelled.
            asked = [group.create_task(self._ask(host, port)) for host, port in self.hosts]
            for next_one in asyncio.as_completed(asked):
                answers.append(await next_one)
                newest = max(answers, key=lambda answer: answer.epoch)
                known = sum(answer.master is not None for answer in answers)
                if known > len(self.hosts) / 2 and not newest.down:
                    break
            for task in asked:
                task.cancel()
        newest = max(answers, key=lambda answer: answer.epoch)
        if newest.master is None:
            raise self._nobody_knows(answers)
        if newest.down:
            host, port = newest.master
            raise RedisConnectionError(f"the sentinels hold the master {host}:{port} for down and have no other yet")
        return newest.master

    async def _ask(self, host: str, port: int) -> Answer:
        at = f"{host}:{port}"
        sentinel = self.ask.to(host.strip("[]"), port, whom=f"the sentinel {at}")
        connection: AbstractConnection | None = None
        try:
            async with asyncio.timeout(ASK_S):
                connection = await sentinel.connected()
                return await self._asked(connection)
        except TimeoutError:
            return Answer(trouble=f"{at} no answer after {ASK_S:g} s")
        except StoreUnusable as error:
            hint = " (the sentinels' own: sentinel_username, sentinel_password)" if "password" in str(error) else ""
            return self._hopeless(f"{error}{hint}")
        except StoreError as error:  # it has too many clients, or loads
            return Answer(trouble=f"{at} {cause(str(error))}")
        except (RedisError, OSError) as error:
            return self._refused(at, error)
        except (LookupError, ValueError, TypeError, AttributeError):
            return Answer(trouble=f"{at} answered what no sentinel says")
        finally:
            if connection is not None:
                await drop(connection)

    async def _asked(self, connection: AbstractConnection) -> Answer:
        try:
            fields = _pairs(await _say(connection, "SENTINEL", "MASTER", self.service))
        except ResponseError as error:
            if "no such master" not in str(error).lower():
                raise
            known = [_pairs(one).get("name", "") for one in await _say(connection, "SENTINEL", "MASTERS")]
            return Answer(names=tuple(known))
        return Answer(
            master=(fields["ip"], int(fields["port"])),
            epoch=int(fields.get("config-epoch", "0")),
            down="o_down" in fields.get("flags", "").split(","),
        )

    def _refused(self, at: str, error: RedisError | OSError) -> Answer:
        word = code(error) if isinstance(error, RedisError) else ""
        if word in ("NOAUTH", "WRONGPASS", "NOPERM"):
            return self._hopeless(
                f"connect: the sentinel {at} answered {word}: a log-in with the right to ask it was expected; "
                "name one in the URL: sentinel_username=...&sentinel_password=..."
            )
        if "unknown command" in str(error).lower():
            return self._hopeless(
                f"what answers at {at} is no sentinel; one was expected there, whose port is {PORT} by default; "
                "correct the URL, or use redis:// without the sentinels"
            )
        return Answer(trouble=f"{at} {cause(str(error)) or type(error).__name__}")

    def _hopeless(self, said: str) -> Answer:
        return Answer(hopeless=StoreUnusable(said, verb="connect", url=self.master.url))

    def _nobody_knows(self, answers: Sequence[Answer]) -> Exception:
        """Why there is no master. A service that is unknown may be one that the sentinels are told of later."""
        unknown = [answer.names for answer in answers if answer.names is not None]
        if unknown:
            names = sorted({name for names in unknown for name in names})
            others = f"they know {', '.join(names[:MOST_NAMES])}" if names else "they know none at all"
            return RedisConnectionError(f"no sentinel that answers knows a service {self.service!r}, {others}")
        for answer in answers:
            if answer.hopeless is not None:
                return answer.hopeless
        return RedisConnectionError(f"no sentinel answers: {', '.join(answer.trouble for answer in answers)}")

    def _notice(self, host: str, port: int) -> None:
        """Say, once a process, that the master is another one."""
        shown = self.master.url
        with _lock:  # the keeper's thread dials too
            before, _masters[shown] = _masters.get(shown), (host, port)
        if before is not None and before != (host, port):
            told = "%s: the master is now %s:%d, it was %s:%d"
            log.warning(told, shown, host, port, *before, extra={"event": "master", "url": shown})


def master_of(url: str) -> tuple[str, int] | None:
    """Where this process saw the master last. url: the sentinels', as it is shown."""
    return _masters.get(url)


async def _say(connection: Any, *words: str) -> Any:
    """A command and its reply, on a connection that nobody else uses."""
    await connection.send_command(*words, check_health=False)
    return await connection.read_response(disable_decoding=True)


async def _role(connection: AbstractConnection) -> str:
    """What a server says that it is. One whose user may not ask that is taken at the sentinels' word."""
    try:
        role = (await _say(connection, "ROLE"))[0]
    except ResponseError:
        return "master"
    return "replica" if role == b"slave" else role.decode(errors="replace")


def _pairs(flat: Sequence[bytes]) -> dict[str, str]:
    """A map as RESP2 gives it."""
    words = [word.decode(errors="replace") for word in flat]
    return dict(zip(words[::2], words[1::2], strict=False))


# --- the URL ----------------------------------------------------------------------------------------------------------


def sentinels(url: str, *, limit_s: float) -> Sentinels:
    """Those that a URL names. Raises UsageError for one that can't be right.

    rediss+sentinel:// is TLS to the sentinels and to the master, with the same certificates. Sentinels have a user and
    a password of their own, in the query; those before the @ are the master's.
    """
    scheme, _, rest = url.partition("://")
    head, mark, query = rest.partition("?")
    authority, _, path = head.partition("/")
    user, at, hosts = authority.rpartition("@")
    if "@" in user:
        raise wrong(url, f"user and password stand once, before the first host, and an @ in them is %40, as in {FORM}")
    service, slash, db = path.partition("/")
    service = unquote(service)
    if not _SERVICE.fullmatch(service):
        raise wrong(url, f"the path names the service that the sentinels watch, as in {FORM}")
    if slash and not db.isdecimal():
        raise wrong(url, f"what follows the service is the number of a database, as in {FORM}")
    plain = f"{scheme.removesuffix('+sentinel')}://{user}{at}sentinel{slash}{db}{mark}{query}"
    kind, options = read(plain, url, form=FORM)
    for name in ("host", "port"):
        options.pop(name, None)
    own = {name.removeprefix("sentinel_"): options.pop(name) for name in OF_SENTINELS & options.keys()}
    shared = {name: value for name, value in options.items() if name.startswith(("ssl_", "socket_"))}
    shown = redact(url)
    ask = Route(kind=kind, options={**shared, **own}, url=shown, limit_s=min(limit_s, ASK_S))
    master = Route(kind=kind, options=options, url=shown, limit_s=limit_s)
    return Sentinels(
        service=service,
        hosts=[_address(host, url) for host in hosts.split(",")],
        ask=checked(ask, url),
        master=checked(master, url),
    )


def _address(text: str, url: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    port = int(found[2] or PORT) if found else 0
    if found is None or not 0 < port < 1 << 16:
        raise wrong(url, f"the sentinels are host:port,host:port,..., as in {FORM}")
    return found[1], port
