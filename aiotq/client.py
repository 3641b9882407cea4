"""An app's connections: a store and a sender for each running loop of each process, made when first needed."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import weakref
from typing import TYPE_CHECKING

from aiotq.durable import DurableSender
from aiotq.hooks import Hooks
from aiotq.sender import Sender
from aiotq.signing import Signer, of_environment
from aiotq.source import Source, choose, say_aloud
from aiotq.store import connect

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from aiotq.registry import Registry
    from aiotq.settings import AppSettings
    from aiotq.store.contract import Store


class Client:
    """A store and its senders, for one event loop."""

    __slots__ = ("durable", "sender", "store", "users")

    def __init__(self, store: Store, *, timeout_s: float) -> None:
        self.store = store
        self.sender = Sender(store, timeout_s=timeout_s)
        self.durable = DurableSender(store, timeout_s=timeout_s)  # it connects when it is first used
        self.users = 0  # how many `async with app:` are open, and workers live


class Core:
    """What an app shares with its tasks and handles."""

    def __init__(self, *, url: str | None, settings: AppSettings, registry: Registry) -> None:
        self.settings = settings
        self.registry = registry
        self.override: str | None = None  # `--url`
        self.hooks = Hooks()
        self.hooked = False  # whether anybody cares for what is enqueued
        self._given = url
        self._source: Source | None = None
        self._clients: dict[AbstractEventLoop, Client] = {}
        self._lock = threading.Lock()
        self._signer: tuple[AppSettings, Signer | None] | None = None
        _cores.add(self)

    def hook(self, hook: object) -> None:
        """Take a middleware or an observer. Raises UsageError for what is neither."""
        self.hooks.add(hook)
        self.hooked = self.hooks.outgoing

    def source(self) -> Source:
        """The server's URL and who named it; found at first use. Raises UsageError (see `source.choose`)."""
        if self._source is None:
            self._source = choose(override=self.override, given=self._given)
        return self._source

    @property
    def signer(self) -> Signer | None:
        """What signs and checks records, if the app or AIOTQ_SIGNING_KEYS gave keys; found at first use.

        Raises UsageError for keys of the environment that can't be right.
        """
        known, settings = self._signer, self.settings
        if known is None or known[0] is not settings:
            keys = settings.signing_keys
            keys = of_environment(os.environ) if keys is None else keys
            known = self._signer = (settings, Signer(keys, namespace=settings.namespace) if keys else None)
        return known[1]

    def new_store(self) -> Store:
        """A store of the app's server, with connections of its own. Raises UsageError for a URL that can't be right."""
        settings = self.settings
        return connect(self.source().url, namespace=settings.namespace, connect_timeout_s=settings.connect_timeout_s)

    def client(self) -> Client:
        """The running loop's client. It connects when it is first used."""
        loop = asyncio.get_running_loop()
        found = self._clients.get(loop)
        return self._new_client(loop) if found is None else found

    def _new_client(self, loop: AbstractEventLoop) -> Client:
        with self._lock:
            for other in [known for known in self._clients if known.is_closed()]:
                del self._clients[other]
            store = self.new_store()
            client = self._clients[loop] = Client(store, timeout_s=self.settings.connect_timeout_s)
        say_aloud(self.source())
        return client

    async def enter(self, *, refused_s: float = math.inf) -> None:
        """Connect for the running loop, until as many `leave`. Raises StoreError within `connect_timeout`.

        refused_s: ... or so soon, where nobody listens.
        """
        client = self.client()
        client.users += 1
        try:
            until = asyncio.get_running_loop().time() + self.settings.connect_timeout_s
            await client.sender.open(until, refused_s=refused_s)
        except BaseException:
            await self.leave()
            raise

    def borrow(self) -> Store:
        """The running loop's store, which stays open until as many `leave`."""
        client = self.client()
        client.users += 1
        return client.store

    async def leave(self) -> None:
        """Close the running loop's client if nobody else has entered."""
        client = self._clients.get(asyncio.get_running_loop())
        if client is not None:
            client.users -= 1
            if client.users <= 0:
                await self.close()

    async def close(self) -> None:
        """Close the running loop's client, once all that was handed over has its answer."""
        with self._lock:
            client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.sender.drain()
            await client.durable.drain()
            await client.store.close()

    def forget(self) -> None:
        """In a child of a fork: leave the parent's connections alone, and make new ones when they are needed."""
        _abandoned.append(self._clients)
        self._clients, self._lock = {}, threading.Lock()


_cores: weakref.WeakSet[Core] = weakref.WeakSet()
_abandoned: list[object] = []  # kept, so that the child never says goodbye on a socket that its parent still uses


def _forget_all() -> None:
    for core in tuple(_cores):
        core.forget()


os.register_at_fork(after_in_child=_forget_all)
