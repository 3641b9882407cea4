"""`--health-port`: where a worker, or a supervisor, answers probes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiotq import probes
from aiotq.cli.mistake import EXIT_FAILURE, Mistake
from aiotq.store import cause

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator, Sequence

    from aiotq.cli.options import WorkerOptions
    from aiotq.hooks import Observer
    from aiotq.supervisor.link import Link
    from aiotq.worker.worker import Worker


def taken(options: WorkerOptions) -> socket.socket | None:
    """The port, taken; None if none was asked for. Raises Mistake if it can't be had."""
    host, number = options.health_host, options.health_port
    if number is None:
        return None
    try:
        return probes.listen(host, number)
    except (OSError, UnicodeError) as error:
        raise Mistake(
            f"--health-port {number}: can't listen at {host} ({cause(str(error))})",
            "a free port of this machine was expected; name another one, or end what listens there",
            exit_code=EXIT_FAILURE,
        ) from error


@contextmanager
def answering(
    options: WorkerOptions, worker: Worker, link: Link | None, observers: Sequence[Observer] = ()
) -> Generator[str | None]:
    """Within it, probes are answered: here, or by the supervisor, which is told. Yields the URL, if it is here."""
    if link is None:
        listening = taken(options)
        if listening is None:
            yield None
        else:
            pages = (getattr(observer, "metrics_page", None) for observer in observers)
            with probes.answering(listening, worker.health, next((page for page in pages if page is not None), None)):
                yield probes.address_of(listening)
    elif options.health_port is None:
        yield None
    else:
        with link.telling(worker.health):
            yield None
