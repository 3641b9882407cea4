"""Processes for tasks that need a core each: one process an attempt, used again by the next, killed to end an attempt.

docs/decisions/0011 says why the pool is our own. A process is a session of its own, so that a terminal's Ctrl-C stops
the worker gently and leaves the job to it. Each holds the reading end of a pipe whose other end only the worker has:
the kernel ends the process as the worker goes, in whatever way it goes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

import msgspec
from msgspec import msgpack

from aiotq.errors import ProcessDied
from aiotq.worker.call import LENGTH, Answer, Call, Said, frame
from aiotq.worker.settings import STUCK_AFTER_S

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_S = 60.0  # an idle process is kept for so long
START_S = 60.0  # what a process gets to start and to import the task's module
END_S = 1.0  # what an idle one gets to end by itself
INTERRUPTED = 1  # with what Python leaves if SIGINT meets it while it starts, before it can die of it
STOPS = {signal.SIGINT, signal.SIGTERM}  # what a terminal or an init system sends to all processes of a service
MAX_ANSWER = 1 << 31  # bytes; whoever says more has not said what aiotq says

BOOT = "import sys; sys.path[:] = sys.argv[3:]; from aiotq.worker.child import main; main()"

_answers = msgpack.Decoder(Answer | Said)


class Pool:
    """Used on the worker's loop. How many run at once is the runner's business."""

    def __init__(self) -> None:
        self._all: set[_Process] = set()
        self._idle: list[_Process] = []  # the one used last, last
        self._watches: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def run(self, call: Call, begun: Callable[[], None], said: Callable[[Said], None]) -> Answer:
        """Run an attempt in a process of its own; cancelled, it kills the process. begun: called as the task begins.
        said: called with what it writes.

        Raises ProcessDied if the process could not start, or ended before the attempt did.
        """
        interrupted = False
        while True:
            used = bool(self._idle)
            process = self._idle.pop() if used else await self._start()
            try:
                answer = await process.run(call, begun, said)
                break
            except BaseException as error:
                process.kill()
                await process.ended()  # soon: the slot is free when the process has gone
                if not isinstance(error, ProcessDied) or process.begun:
                    raise
                # Else it had died idle; or what stops a service met it before it could leave that to the worker.
                stopped = error.signal in STOPS or error.exit_code == INTERRUPTED
                if not used and (interrupted or not stopped):
                    raise
                interrupted = not used
        if process in self._all:  # else it has ended since
            process.idle_since_s = monotonic()
            self._idle.append(process)
            self._arm()
        return answer

    def kill(self) -> None:
        """End all processes now; idle ones in their own way."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for process in self._all:
            if process in self._idle:
                process.dismiss()
            else:
                process.kill()
        self._idle.clear()

    async def ended(self) -> None:
        """Wait until all processes have ended, after `kill`."""
        if self._watches:
            await asyncio.wait(self._watches, timeout=END_S)
        for process in self._all:
            process.kill()
        if self._watches:
            await asyncio.wait(self._watches, timeout=STUCK_AFTER_S)

    async def _start(self) -> _Process:
        try:
            process = await _Process.start()
        except OSError as error:
            raise ProcessDied(f"the process of this attempt could not be started: {error}") from error
        self._all.add(process)
        # Its owner is this pool, whose `ended` waits for it.
        watch = asyncio.get_running_loop().create_task(self._watch(process))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        if self._closed:
            process.kill()
        return process

    async def _watch(self, process: _Process) -> None:
        """Until it has ended, whoever ends it."""
        await process.ended()
        process.close()
        self._all.discard(process)
        if process in self._idle:
            self._idle.remove(process)

    def _arm(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(IDLE_S, self._dismiss_idle)

    def _dismiss_idle(self) -> None:
        self._timer = None
        since_s = monotonic() - IDLE_S
        for process in [idle for idle in self._idle if idle.idle_since_s <= since_s]:
            self._idle.remove(process)
            process.dismiss()
        if self._idle:
            self._arm()


class _Process:
    """One of them, and the channel to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        lifeline: int,
    ) -> None:
        self._process, self._reader, self._writer, self._lifeline = process, reader, writer, lifeline
        self.idle_since_s = 0.0
        self.begun = False  # the task of the call at hand

    @classmethod
    async def start(cls) -> _Process:
        """Start one. Raises OSError."""
        ours, theirs = socket.socketpair()
        end, lifeline = os.pipe()
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", BOOT, str(theirs.fileno()), str(end), *sys.path),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), end),
                    start_new_session=True,
                )
            except BaseException:
                writer.close()
                raise
        except BaseException:
            os.close(lifeline)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(end)
        return cls(process, reader, writer, lifeline)

    async def run(self, call: Call, begun: Callable[[], None], said: Callable[[Said], None]) -> Answer:
        """One attempt. Raises ProcessDied."""
        self.begun = False
        try:
            self._writer.write(frame(call))
            await self._writer.drain()
            async with asyncio.timeout(START_S):
                body = await self._receive()
            if not body:
                self.begun = True
                begun()
                body = await self._receive()
            while isinstance(answer := _answers.decode(body), Said):
                said(answer)
                body = await self._receive()
            return answer
        except TimeoutError:
            raise ProcessDied(
                f"the process of this attempt had not imported {call.module} after {START_S:g} s and was killed; "
                "look at what the module does as it is imported"
            ) from None
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError):
            raise await self._died() from None

    def kill(self) -> None:
        """End it now, and what it has started itself."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def dismiss(self) -> None:
        """Tell an idle one that it is not needed any more; it is killed if it does not end then."""
        self._writer.close()
        asyncio.get_running_loop().call_later(END_S, self.kill)

    def close(self) -> None:
        """It has ended: let its channel go, and whoever reads from it."""
        self._writer.transport.abort()
        os.close(self._lifeline)

    async def ended(self) -> int:
        """Wait for its end: its exit code, negative for a signal."""
        return await self._process.wait()

    async def _receive(self) -> bytes:
        size = int.from_bytes(await self._reader.readexactly(LENGTH), "big")
        if size > MAX_ANSWER:
            raise msgspec.DecodeError
        return await self._reader.readexactly(size)

    async def _died(self) -> ProcessDied:
        """The channel is of no use any more. Why it ended; one that goes on without its channel is killed."""
        try:
            async with asyncio.timeout(END_S):
                code = await self.ended()
        except TimeoutError:
            return ProcessDied("the process of this attempt closed, or spoiled, its channel to the worker")
        if code >= 0:
            return ProcessDied(
                f"the process of this attempt ended with exit code {code} before the task did; "
                "let the task return or raise, and not leave its process",
                exit_code=code,
            )
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return ProcessDied(
                f"the process of this attempt ended with signal {-code} ({name}): somebody or the system (memory?) "
                "killed it, or native code crashed; only this attempt has failed",
                signal=-code,
            )
        return ProcessDied(f"the process of this attempt ended with signal {-code}", signal=-code)
