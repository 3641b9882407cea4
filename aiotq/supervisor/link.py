"""The worker's end of the socket between it and its supervisor."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiotq.supervisor.words import DRAIN, NOW, Doing, encode

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Generator

    from aiotq.health import Health
    from aiotq.supervisor.words import Seat, Word

log = logging.getLogger("aiotq.supervisor")
LOOK_EVERY_S = 0.5
UNKNOWN = "unknown"
SAY_EVERY = 4  # looks, though nothing has changed


class Link:
    """Used in a worker's process, on its loop; `tell` by any thread."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self._socket = socket.socket(fileno=seat.socket)
        self._socket.setblocking(False)
        self._socket.set_inheritable(False)
        self._gone = False
        self._turn = threading.Lock()  # so that no word gets into another one

    def gone(self) -> bool:
        """Whether the supervisor has gone."""
        return self._gone

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def tell(self, word: Word) -> None:
        """Say something. A supervisor that has gone or does not listen is no reason to stop working."""
        try:
            with self._turn:
                self._socket.send(encode(word) + b"\n")
        except OSError:
            pass

    @contextmanager
    def telling(self, look: Callable[[], Health]) -> Generator[None]:
        """Within it, the supervisor is told what `look` says, by a thread: the loop may be blocked."""
        over = threading.Event()

        def tell() -> None:
            said: Doing | None = None
            looks = 0
            while True:
                try:
                    health = look()
                    doing = Doing(live=health.live, ready=health.ready, reason=health.reason)
                except Exception:
                    if said is None or said.reason != UNKNOWN:
                        log.exception("how the worker does can't be told, by a mistake in aiotq; please report it")
                    doing = Doing(live=False, ready=False, reason=UNKNOWN)
                if doing != said or looks % SAY_EVERY == 0:
                    self.tell(doing)
                said, looks = doing, looks + 1
                if over.wait(LOOK_EVERY_S):
                    return

        teller = threading.Thread(target=tell, name="aiotq-health", daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()

    @contextmanager
    def listening(
        self,
        loop: AbstractEventLoop,
        *,
        now: Callable[[], None],
        gone: Callable[[], None],
        drain: Callable[[], None] = lambda: None,
    ) -> Generator[None]:
        """Within it, the supervisor's words call `now` and `drain`, and its end calls `gone`, in the loop."""

        def read() -> None:
            try:
                said = self._socket.recv(1024)
            except BlockingIOError:
                return
            except OSError:
                said = b""
            if DRAIN in said:
                drain()
            if NOW in said:
                now()
            if not said:
                loop.remove_reader(self._socket)
                self._gone = True
                gone()

        loop.add_reader(self._socket, read)
        try:
            yield
        finally:
            loop.remove_reader(self._socket)
