"""`aiotq metrics`: what Prometheus scrapes of all queues and workers."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Annotated

from aiotq import probes
from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK, Mistake
from aiotq.cli.operate import options
from aiotq.cli.operate.reach import Where, app_of, away, hint, lost, reachable, say_json, warnings_said
from aiotq.cli.options import LOOPBACK, port
from aiotq.store import cause

if TYPE_CHECKING:
    from aiotq.app import App
    from aiotq.contrib.exporter import Exporter
    from aiotq.errors import StoreError

PORT = 9464  # what Prometheus' registry of ports has for exporters of this kind
STOPPING = (signal.SIGINT, signal.SIGTERM)

HELP = """\
aiotq metrics [options]

Answer GET /metrics over HTTP with what is waiting, running and counted, for Prometheus: read out of the
store, so that one exporter tells of all workers. It goes on through an outage of the server (aiotq_up
is 0 then), and needs the extra: pip install 'aiotq[prometheus]'."""
EXAMPLE = """\
Exit codes: 0 stopped as asked, 1 no server answers (--once) or the port is taken, 2 used wrongly.

Example: look at it once

  aiotq metrics --once | grep aiotq_queue_waiting"""

_SERVE = "How it is asked"
Port = Annotated[
    int,
    options.option(
        "--port",
        group=_SERVE,
        takes="PORT",
        env="AIOTQ_METRICS_PORT",
        text=f"Where it listens ({PORT}); 0: any port that is free.",
        parser=port,
    ),
]
Host = Annotated[
    str,
    options.option(
        "--host",
        group=_SERVE,
        takes="HOST",
        env="AIOTQ_METRICS_HOST",
        text=f"At this address of the machine ({LOOPBACK}); 0.0.0.0 where Prometheus asks from outside a container.",
    ),
]
Once = Annotated[bool, options.option("--once", group=_SERVE, text="Print the page and end. So does --json.")]


def metrics(
    *,
    port: Port = PORT,
    host: Host = LOOPBACK,
    once: Once = False,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
) -> int:
    """Serve them, or print them."""
    where, once = Where(url=url, namespace=namespace, target=app, as_json=as_json), once or as_json
    try:
        from aiotq.contrib.exporter import Exporter  # noqa: PLC0415  an extra
    except ImportError as error:
        raise Mistake(f"prometheus_client is missing ({error})", "run: pip install 'aiotq[prometheus]'") from error
    found = app_of(where)
    source = reachable(where, found.source())
    problems: list[StoreError] = []

    def failed(error: StoreError) -> None:
        if not problems:
            hint(f"{lost(error, source)}; trying again at each scrape")
        problems[:] = [error]

    exporter = Exporter(
        found.inspect, tasks=found.tasks, queues=found.registry.queues, failed=problems.append if once else failed
    )
    with warnings_said():
        if not once:
            return asyncio.run(_serve(found, exporter, host, port))
        page, samples = asyncio.run(_once(found, exporter))
    if problems:
        raise away(where, lost(problems[0], source))
    if as_json:
        say_json(samples)
    else:
        sys.stdout.write(page)
        sys.stdout.flush()
    return EXIT_OK


async def _once(app: App, exporter: Exporter) -> tuple[str, list[dict[str, object]]]:
    """As Prometheus gets it, and as plain values."""
    from aiotq.contrib.exporter import page_of  # noqa: PLC0415  an extra

    try:
        families = await exporter.families()
        samples = [sample for family in families for sample in family.samples]
        values: list[dict[str, object]] = [
            {"name": sample.name, "labels": sample.labels, "value": sample.value} for sample in samples
        ]
        return page_of(families)[0].decode(), values
    finally:
        await app._core.close()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def _serve(app: App, exporter: Exporter, host: str, number: int) -> int:
    """Until a signal comes."""
    from aiotq.contrib.serving import serving  # noqa: PLC0415  only where it serves

    loop, over = asyncio.get_running_loop(), asyncio.Event()
    try:
        listening = probes.listen(host, number)
    except (OSError, UnicodeError) as error:
        raise Mistake(
            f"--port {number}: can't listen at {host} ({cause(str(error))})",
            "a free port of this machine was expected; name another one, or end what listens there",
            exit_code=EXIT_FAILURE,
        ) from error
    for signal_number in STOPPING:
        loop.add_signal_handler(signal_number, over.set)
    try:
        async with serving(listening, exporter.page):
            hint(f"metrics: {probes.address_of(listening)}/metrics")
            hint("Ctrl-C stops.")
            await over.wait()
    finally:
        for signal_number in STOPPING:
            loop.remove_signal_handler(signal_number)
        await app._core.close()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return EXIT_OK
