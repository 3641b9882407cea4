"""A worker that kills itself at a named point: `python -m tests.faults.crash POINT MODULE [options of a worker]`.

POINT is `when:what`. What it does: "claim" (an exchange that stores nothing), "finish" (one that stores outcomes),
another script by its name, "start" (of an attempt), or "decide" (what an attempt came to). When: "before" it; with
"half" of the request sent; "sent" whole, and the answer not waited for; "after" the answer has come, and before anybody
has seen it. It is SIGKILL each time: no handler, no `finally`, no goodbye.

The package knows nothing of this: it wraps the owner of a connection and the runner from outside.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from aiotq.cli.main import main
from aiotq.store import scripts
from aiotq.store.connection import wire
from aiotq.store.connection.wire import Wire
from aiotq.worker.fetch import Fetcher
from aiotq.worker.run import Runner

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

WHENS = ("before", "half", "sent", "after")
OF_THE_WORKER: dict[str, tuple[type[Any], str]] = {"start": (Runner, "start"), "decide": (Fetcher, "decided")}
LIMIT, N_ENDED, N_OTHERS = 6, 10, 11  # where they stand in the command of an exchange


def die() -> NoReturn:
    """At once."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process outlived SIGKILL")


def wanted(what: str) -> Callable[[tuple[Any, ...]], bool]:
    """Whether a command is the one to die at."""
    sha = next((one.sha for one in scripts.ALL if one.name == what), scripts.EXCHANGE.sha)

    def is_it(command: tuple[Any, ...]) -> bool:
        if command[0] != "EVALSHA" or command[1] != sha:
            return False
        if what == "claim":
            return command[LIMIT] > 0 and command[N_ENDED] + command[N_OTHERS] == 0
        return what != "finish" or command[N_ENDED] + command[N_OTHERS] > 0

    return is_it


def doom_wire(when: str, what: str) -> None:
    """Die at a command, on whichever connection it goes out."""
    call, is_it = Wire.call, wanted(what)

    def doomed(self: Wire, *command: str | bytes | int) -> asyncio.Future[Any]:
        link = self._link
        if link is None or not is_it(command):  # unconnected, it would not be sent yet
            return call(self, *command)
        if when == "before":
            die()
        if when == "half":
            packed = wire._pack(command)
            link.write(packed[: len(packed) // 2])
            die()
        answer = call(self, *command)
        if when == "sent":
            die()
        answer.add_done_callback(lambda _: die())  # the first one: nobody else has seen it
        return answer

    Wire.call = doomed


def doom_worker(when: str, what: str) -> None:
    """Die as it does something that no command is."""
    owner, name = OF_THE_WORKER[what]
    method = getattr(owner, name)

    def doomed(self: Any, *args: Any, **options: Any) -> Any:
        if when == "before":
            die()
        method(self, *args, **options)
        die()

    setattr(owner, name, doomed)


if __name__ == "__main__":
    point_when, _, point_what = sys.argv.pop(1).partition(":")
    assert point_when in WHENS, point_when
    (doom_worker if point_what in OF_THE_WORKER else doom_wire)(point_when, point_what)
    sys.exit(main())
