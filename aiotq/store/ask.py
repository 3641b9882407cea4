"""How a store's commands are sent: what their errors mean, scripts taught to a server, and what is safe repeated."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from redis.exceptions import NoScriptError, RedisError

from aiotq.errors import StoreError, StoreRefused, StoreUnavailable
from aiotq.store import scripts
from aiotq.store.answers import LEAVE, code, told
from aiotq.store.connection.sentinel import SCHEMES as SENTINEL_SCHEMES
from aiotq.store.connection.wire import Wire, WireBroken
from aiotq.store.contract import REPEATS_S
from aiotq.store.words import is_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio.connection import AbstractConnection

    from aiotq.store.scripts import Script

T = TypeVar("T")

ANSWER_WITHIN_S = 5.0  # a connection that is silent for longer is replaced, however long a caller would wait


class Asking(NamedTuple):
    """How one store's commands are sent, for verbs that are kept elsewhere (operators.py)."""

    send: Callable[..., Awaitable[Any]]  # Asker._send
    run: Callable[..., Awaitable[Any]]  # Asker._run
    repeat: Callable[..., Awaitable[Any]]  # Asker._repeat
    prefix: str  # of every key
    url: str  # without its password


class Asker:
    """What each verb of a store is made of."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[AbstractConnection]],
        *,
        url: str,
        prefix: str,
        limit_s: float,
        left: Callable[[], None],
    ) -> None:
        """url: without its password. limit_s: how long a verb may take, connecting included. left: see `Wire`."""
        self.url, self._prefix, self._limit_s = url, prefix, limit_s
        self._answer_s = min(limit_s, ANSWER_WITHIN_S)
        self._bounded_s = 0.95 * self._answer_s  # with so much left an attempt needs no time-out of its own
        self._least_s = min(0.25, 0.1 * self._answer_s)  # with less left none is begun; one that has gets as much more
        self._wire = Wire(dial, limit_s=self._answer_s, left=left)

    @property
    def asking(self) -> Asking:
        """Its ways to ask, over its own connection."""
        return Asking(self._send, self._run, self._repeat, self._prefix, self.url)

    async def _send(self, verb: str, *command: str | bytes | int, wire: Wire | None = None, denied: Any = None) -> Any:
        """denied: the answer where the user may do without the right to ask."""
        return await self._asked(verb, (wire or self._wire).call(*command), denied=denied)

    async def _asked(self, verb: str, asking: Awaitable[Any], *, denied: Any = None) -> Any:
        try:
            return await asking
        except WireBroken as error:
            raise self._unavailable(verb, error) from None
        except RedisError as error:
            if denied is not None and code(error) == "NOPERM":
                return denied
            if verb == "read" and code(error) == "WRONGTYPE":
                return None  # a key of another type: somebody else's, and nothing of ours
            raise told(error, verb=verb, url=self.url) from None

    async def _run(self, script: Script, *argv: str | bytes | int, wire: Wire | None = None) -> Any:
        command = ("EVALSHA", script.sha, 1, self._prefix, *argv)
        wire = wire or self._wire
        try:
            try:
                return await wire.call(*command)
            except NoScriptError:
                return await self._teach(script, command, wire)
        except WireBroken as error:
            raise self._unavailable(script.name, error) from None
        except RedisError as error:
            raise told(error, verb=script.name, url=self.url) from None

    async def _teach(self, script: Script, command: tuple[str | bytes | int, ...], wire: Wire) -> Any:
        """Load a script and run it. Both go out in one write; somebody's SCRIPT FLUSH may still come between."""
        answer: Any = None
        for _ in range(scripts.LOAD_TRIES):
            both = wire.calls(("SCRIPT", "LOAD", script.text), command)
            loaded, answer = await asyncio.gather(*both, return_exceptions=True)
            if not isinstance(answer, NoScriptError):
                break  # also where this user may not load it: somebody else has, just now
            if isinstance(loaded, BaseException):
                raise loaded
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _unavailable(self, verb: str, error: WireBroken) -> StoreUnavailable:
        return StoreUnavailable(
            f"{verb}: no answer from {self.url} ({error}); {_expected(self.url)}",
            verb=verb,
            url=self.url,
            sent=error.sent,
            refused=not error.sent and is_refusal(str(error)),
        )

    def _still_open(self, refused: StoreError) -> StoreUnavailable:
        """This request was refused; what became of an earlier one, whose answer got lost, is as unknown as before."""
        said = getattr(refused, "code", None) or type(refused).__name__
        return StoreUnavailable(
            f"{refused.verb}: an answer from {self.url} got lost, and the next one was {said}; try again later",
            verb=refused.verb,
            url=self.url,
            sent=True,
        )

    async def _repeat(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        verb: str = "read",
        timeout_s: float | None = None,
        sent: Callable[[], bool] | None = None,
        refused_s: float = math.inf,
    ) -> T:
        """Repeat what is safe to repeat until it is answered or its time is over.

        sent: see `_by`. refused_s: for how long where nobody listens.
        """
        loop = asyncio.get_running_loop()
        first_s = loop.time()
        end = first_s + (self._limit_s if timeout_s is None else timeout_s)
        backoff_s, unknown, repeats_s = 0.02, False, REPEATS_S if verb == "enqueue" else math.inf
        failed: StoreError | None = None
        while True:
            began_s = loop.time()
            try:
                if end - loop.time() >= self._bounded_s:  # then the wire's own limit is enough
                    return await attempt()
                return await self._by(end + self._least_s, attempt, verb=verb, sent=sent)
            except StoreUnavailable as error:
                end = min(end, began_s + (repeats_s if error.sent and not unknown else math.inf))
                unknown = error.sent = error.sent or unknown
                end = min(end, first_s + refused_s) if error.refused and not unknown else end
                if failed is not None and not unknown and loop.time() >= end:
                    raise failed from None  # this one was cut off before it was sent: what is known was said before
                failed = error
            except StoreRefused as error:
                failed = self._still_open(error) if unknown else error
                if error.code not in LEAVE and error.code != "BUSY":
                    raise failed from None
            except StoreError as error:  # it would be the same again: NOPERM, or nothing to make a job durable with
                if unknown:
                    raise self._still_open(error) from error
                raise
            if loop.time() + backoff_s + self._least_s >= end:
                raise failed
            await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))  # noqa: S311  spread, no secret
            backoff_s = min(backoff_s * 2, 0.5)

    async def _by(
        self, end: float, attempt: Callable[[], Awaitable[T]], *, verb: str, sent: Callable[[], bool] | None = None
    ) -> T:
        """One attempt, given up at `end` (loop time). Who gives up drops a future: the command stays its wire's.

        sent: whether it may have gone out, for what does not go over the wire of all.
        """
        if asyncio.get_running_loop().time() >= end:
            raise self._unavailable(verb, WireBroken("no time is left", sent=False))
        wire = self._wire
        written = wire.written
        # Owned by this call, which waits for it. In a loop that was late the answer may have come in the very turn in
        # which the time was over: a time-out around `attempt` itself would throw it away, and take it for unsent.
        trying = asyncio.get_running_loop().create_task(_awaited(attempt))
        try:
            await asyncio.wait([trying], timeout=end - asyncio.get_running_loop().time())
            if trying.done():
                return trying.result()
            # Not whether something is in flight: its answer may have come in this turn, or its wire given it up.
            went = wire.written != written if sent is None else sent()
        finally:
            trying.cancel()
        await asyncio.wait([trying])
        raise self._unavailable(verb, WireBroken("no answer in time", sent=went))


async def _awaited(attempt: Callable[[], Awaitable[T]]) -> T:
    return await attempt()


def _expected(url: str) -> str:
    """What should answer at a URL, and what to do where nothing does."""
    if url.startswith("embedded://"):
        return "the built-in server was expected there; look at the log in its directory"
    if url.startswith(SENTINEL_SCHEMES):
        return "a master was expected behind these sentinels; see that most of them run, or correct the URL"
    return (
        "a Redis or Valkey server was expected there; start Redis, or use --url embedded:// "
        "(in a program: App('embedded://'), or AIOTQ_URL)"
    )
