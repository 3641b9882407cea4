"""A worker process, as its supervisor holds it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from aiotq.supervisor.words import DRAIN, NOW, Broken, Doing, Full, Ready, Registered, Retired, Seat, decode, given

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiotq.supervisor.processes import Processes

log = logging.getLogger("aiotq.supervisor")


class Child:
    """One, from its start to its end, and what it has said of itself."""

    def __init__(
        self, processes: Processes, *, label: str, number: int, count: int, first: bool, relief: bool = False
    ) -> None:
        """Start it: this very command line once more, with a seat in its environment. Raises OSError.

        relief: it takes the place of one that is well and only to be replaced.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            seat = Seat(number=number, count=count, label=label, socket=theirs.fileno(), first=first)
            command = [sys.executable, *sys.orig_argv[1:]]
            try:
                self.process = processes.start(command, env=given(seat, os.environ), fds=[theirs.fileno()])
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self.number, self.first, self.relief = number, first, relief
        self.started_at_s = monotonic()
        self.doing: Doing | None = None  # how it does, by its own word
        self.heard_at_s = 0.0  # when it said that
        self.registered: Registered | None = None  # as it stands in the store
        self.ready_at_s: float | None = None  # monotonic
        self.full: asyncio.Future[Full] = asyncio.get_running_loop().create_future()  # it is to be replaced
        self.broken: Broken | None = None  # it could not load the user's code
        self.dismissed = False  # it was told to go before it worked: there is newer code
        self._told: Callable[[], None] | None = None
        self._socket, self._loop, self._heard = ours, asyncio.get_running_loop(), b""
        self._loop.add_reader(ours, self._read)
        self.process.ended.add_done_callback(lambda _: self._close())

    @property
    def ready(self) -> bool:
        """Whether it has begun to work."""
        return self.ready_at_s is not None

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call that once it works."""
        self._told = call

    def worked_s(self) -> float:
        """For how long it has worked so far."""
        return 0.0 if self.ready_at_s is None else monotonic() - self.ready_at_s

    def stop(self, *, now: bool = False) -> None:
        """Tell it to stop: gently, or now."""
        if now:
            self._say(NOW)
        else:
            self.process.send(signal.SIGTERM)

    def drain(self) -> None:
        """Have it end what it holds and be replaced at once; one that does not work yet just goes."""
        if self.ready:
            self._say(DRAIN)
        else:
            self.dismissed = True
            self.stop()
        if not self.full.done():
            self.full.set_result(Full())

    def _say(self, word: bytes) -> None:
        try:
            self._socket.send(word)
        except OSError:
            pass  # it is ending

    def kill(self) -> None:
        """End it."""
        self.process.send(signal.SIGKILL)

    # --- what it says -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket)
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            word = decode(line)
        except msgspec.DecodeError:
            log.warning("worker process %d said something unknown", self.number, extra={"event": "unknown_word"})
            return
        match word:
            case Registered():
                self.registered = word
            case Retired():
                self.registered = None
            case Full():
                if not self.full.done():
                    self.full.set_result(word)
            case Broken():
                self.broken = word
            case Doing():
                self.doing, self.heard_at_s = word, monotonic()
            case Ready():
                self.ready_at_s = monotonic()
                if self._told is not None:
                    self._told()

    def _close(self) -> None:
        """It has ended; what it said last may still be there."""
        while self._socket.fileno() >= 0 and self._pending():
            self._read()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _pending(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False
