"""A process of a worker's pool: runs one attempt after the other, until its worker wants it no more, or has gone."""

from __future__ import annotations

import faulthandler
import fcntl
import importlib
import os
import select
import signal
import socket
import sys
import threading
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import msgpack, structs

from aiotq.current import CURRENT
from aiotq.errors import ResultTooLarge, SerializationError, UsageError
from aiotq.frames import describe, full_traceback, ours
from aiotq.job import Failed
from aiotq.registry import task_at
from aiotq.retry import decide
from aiotq.worker.call import LENGTH, Answer, Call, Here
from aiotq.worker.courier import Courier

if TYPE_CHECKING:
    from types import FrameType

    from aiotq.registry import RegisteredTask

_calls = msgpack.Decoder(Call)


def main() -> None:
    """Serve a worker. Arguments: the descriptors of the channel to it, and of a pipe that closes as it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever stops all processes of a service wants the job to end well
        signal.signal(number, _leave_it_to_the_worker)
    channel, lifeline = int(sys.argv[1]), int(sys.argv[2])
    _end_with_worker(lifeline)
    faulthandler.enable()  # a crash in native code is said with the line
    del sys.argv[1:]
    os.set_inheritable(channel, False)
    with socket.socket(fileno=channel) as link, link.makefile("rb") as incoming:
        courier = Courier(link)
        while header := incoming.read(LENGTH):
            call = _calls.decode(incoming.read(int.from_bytes(header, "big")))
            courier.answer(_serve(call, courier))


def _leave_it_to_the_worker(_number: int, _frame: FrameType | None) -> None:
    """A signal that ends a service. A function, as programs that the task starts would inherit SIG_IGN."""


def _end_with_worker(lifeline: int) -> None:
    """Let this process be killed as the other end of a pipe closes, whatever it does then."""
    os.set_inheritable(lifeline, False)
    if sys.platform == "linux":  # the kernel does it: also in the midst of C code that holds the interpreter's lock
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())  # all that a task has started goes with it
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([lifeline], [], [], 0)[0]:  # it had closed before
            os._exit(1)
        return

    def wait() -> None:
        os.read(lifeline, 1)
        os._exit(1)

    threading.Thread(target=wait, name="aiotq-lifeline", daemon=True).start()


# --- one attempt ------------------------------------------------------------------------------------------------------


def _serve(call: Call, courier: Courier) -> Answer:
    try:
        registered = _find(call)
    except BaseException as error:  # noqa: BLE001  the user's module: whatever it raises is said to its user
        return Answer(missing=describe(error), traceback=full_traceback(error) if call.traceback else None)
    courier.begin(call.job.ticket)
    return copy_context().run(_attempt, call, registered, courier)


def _find(call: Call) -> RegisteredTask:
    module = sys.modules.get(call.module)
    if module is None:
        Here.importing = True
        try:
            module = importlib.import_module(call.module)
        finally:
            Here.importing = False
    found: Any = task_at(module, call.path)
    if found is None:
        raise UsageError(
            f"{call.module}:{call.path} is no task in the process of this attempt, but is one in its worker; "
            'have the module define it whenever it is imported, and not under if __name__ == "__main__"'
        )
    core = found.core  # the app that the task belongs to, where the task may enqueue with delay_sync()
    if core.override != call.url or core.settings.namespace != call.namespace:
        core.override, core.settings = call.url, replace(core.settings, namespace=call.namespace)
    return found.registered


def _attempt(call: Call, task: RegisteredTask, courier: Courier) -> Answer:
    CURRENT.set(structs.replace(call.job, scribe=courier.number))
    try:
        args, kwargs = task.codec.decode_arguments(call.args, call.kwargs)
        value = task.fn(*args, **kwargs)
        return Answer(result=task.encoded(value, max_result=call.max_result))
    except BaseException as error:  # noqa: BLE001  the wall between a user's code and the pool: nothing gets past
        outcome = decide(
            error,
            attempt=call.job.attempt,
            retries=call.job.retries,
            policy=task.policy,
            spread=call.spread,
            error=describe(error),
            final=isinstance(error, SerializationError | ResultTooLarge) and ours(error),
        )
        traceback = full_traceback(error) if call.traceback else None
        if isinstance(outcome, Failed):
            return Answer(failed=outcome, traceback=traceback)
        return Answer(retried=outcome, traceback=traceback)
