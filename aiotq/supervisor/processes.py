"""Processes of one parent: started without a gap for signals, reaped as they end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence


class Process:
    """One that was started here."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()  # negative: the signal's number

    def reap(self) -> bool:
        """Whether it has ended; then `ended` has its exit code."""
        code = self._popen.poll()
        if code is not None and not self.ended.done():
            self.ended.set_result(code)
        return code is not None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        self._popen.send_signal(number)

    def hand_over(self, data: bytes) -> None:
        """Write to its stdin, which is a pipe, and close that."""
        assert self._popen.stdin is not None
        try:
            with self._popen.stdin as pipe:
                pipe.write(data)
        except OSError:
            pass  # it has ended already, and its exit code tells


class Processes:
    """Those of the running loop, until they have ended."""

    def __init__(self) -> None:
        self._running: set[Process] = set()

    @contextmanager
    def reaping(self) -> Generator[None]:
        """Within it, ends are noticed at once."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGCHLD)

    def start(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        fds: Sequence[int] = (),
        fed: bool = False,
    ) -> Process:
        """Start a process with SIGINT blocked, which it unblocks once it can handle it.

        fed: `hand_over` follows; such a one ends by itself, and what stops all others with SIGTERM does not stop it.
        """
        blocked = [signal.SIGINT, signal.SIGTERM] if fed else [signal.SIGINT]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            popen = subprocess.Popen(  # noqa: S603  this very command line
                command, env=None if env is None else dict(env), pass_fds=fds, stdin=subprocess.PIPE if fed else None
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        process = Process(popen)
        self._running.add(process)
        return process

    def _reap(self) -> None:
        self._running = {process for process in self._running if not process.reap()}


def unblock_interrupts() -> None:
    """In a process that `start` has started: ignore SIGINT until it is handled. A parent's signals do what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
