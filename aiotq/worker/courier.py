"""In a process of a worker's pool: what the attempt writes goes to the worker, at once, then a few times a second."""

from __future__ import annotations

import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from aiotq.current import enlist
from aiotq.worker.call import BEGINS, Answer, Said, frame
from aiotq.worker.page import MOST_TEXT, Page, harmless, level, note

if TYPE_CHECKING:
    import socket

EVERY_S = 0.25
BESIDE = 64  # bytes of a line beside its text, about

Line = tuple[float, str, str]
Far = tuple[float, float, float | None, str | None]


class Courier:
    """Owns the channel to the worker, as far as it is written to. A `current.Scribe`."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._writing = threading.Lock()  # a frame
        self._page: Page[Line, Far] = Page()
        self._paging = threading.Lock()
        self._ticket: str | None = None  # of the attempt at hand
        self._news, self._never = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None  # once there was something to write
        self.number = enlist(self)

    def begin(self, ticket: str) -> None:
        """An attempt begins."""
        with self._paging:
            self._ticket, self._page = ticket, Page[Line, Far]()
        with self._writing:
            self._link.sendall(BEGINS)

    def answer(self, answer: Answer) -> None:
        """It has ended; what it writes from now on is dropped."""
        with self._writing:
            self._send()
            with self._paging:
                self._ticket = None
            self._link.sendall(frame(answer))

    def log(self, ticket: str, attempt: int, level_name: str, text: object) -> None:  # noqa: ARG002  its worker knows
        """A line."""
        said = harmless(text, MOST_TEXT)
        line = (monotonic(), level(level_name), said)
        with self._paging:
            if ticket == self._ticket:
                self._page.add(line, BESIDE + len(said))
        self._wake()

    def progress(self, ticket: str, attempt: int, done: float, of: float | None, word: str | None) -> None:  # noqa: ARG002
        """How far it is."""
        far = (monotonic(), done, of, note(word))
        with self._paging:
            if ticket == self._ticket:
                self._page.progress = far
        self._wake()

    def _wake(self) -> None:
        if self._thread is None:
            with self._paging:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="aiotq-courier", daemon=True)
                    self._thread.start()
        if not self._news.is_set():
            self._news.set()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            with suppress(OSError), self._writing:  # the worker has gone, and this process goes with it
                self._send()
            self._never.wait(EVERY_S)

    def _send(self) -> None:
        """What there is. The caller holds `_writing`."""
        with self._paging:
            page = self._page
            if self._ticket is None or not page:
                return
            said = Said(
                lines=[(number, at_s, name, text) for number, (at_s, name, text) in page.all()], progress=page.progress
            )
            page.taken(upto=page.number, progress=page.progress)
        self._link.sendall(frame(said))
