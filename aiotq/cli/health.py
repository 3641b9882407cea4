"""`aiotq health`: whether a worker on this machine does well, or else all that there is. For people and for probes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from aiotq import checks
from aiotq.cli.look import Paper, look_of
from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK, Mistake
from aiotq.cli.options import LOOPBACK, port, positive_seconds
from aiotq.cli.text import duration, listed, printable, reason
from aiotq.errors import StoreError, StoreUnavailable
from aiotq.source import choose, none_runs
from aiotq.store import cause, connect, embedded_runs

if TYPE_CHECKING:
    from aiotq.source import Source
    from aiotq.store.contract import Survey

TIMEOUT_S = 5.0
LONGEST_S = 86_400.0  # for which an answer is waited; sockets know no time that is much longer
EVERY_ADDRESS = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104  where a worker listens; it is asked here

HELP = """\
Ask how a worker on this machine does, by its --health-port. Without that option, ask the server
instead: whether it answers and takes new jobs, and whether each queue has a worker whose lease has
not ended. A queue in which nothing waits, and that is not named by --queues, needs none, if there is
any worker. With --url the server is asked in any case."""
EXAMPLE = """\
Options are also read from the environment, as those of a worker: AIOTQ_HEALTH_PORT and so on.
Exit codes: 0 all is well, 1 it is not, 2 used wrongly.

Example: does anybody serve the e-mails?

  aiotq health --queues email"""

HealthPort = Annotated[
    int | None,
    typer.Option(
        "--health-port",
        metavar="PORT",
        envvar="AIOTQ_HEALTH_PORT",
        rich_help_panel="A worker",
        help="Ask the worker, or the supervisor of several, that answers there.",
        parser=port,
    ),
]
HealthHost = Annotated[
    str,
    typer.Option(
        "--health-host",
        metavar="HOST",
        envvar="AIOTQ_HEALTH_HOST",
        rich_help_panel="A worker",
        help=f"At this address ({LOOPBACK}).",
    ),
]
Live = Annotated[
    bool, typer.Option("--live", rich_help_panel="A worker", help="Ask only whether it lives, not whether it is ready.")
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        rich_help_panel="Or all that there is",
        help="The server. Otherwise the first that there is of AIOTQ_URL, REDIS_URL, the built-in server if it "
        "is installed, redis://localhost:6379.",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        metavar="NAME",
        envvar="AIOTQ_NAMESPACE",
        rich_help_panel="Or all that there is",
        help="What its keys begin with (aiotq).",
    ),
]
AppName = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="MODULE:APP",
        envvar="AIOTQ_APP",
        rich_help_panel="Or all that there is",
        help="The app whose server and namespace count.",
    ),
]
Queues = Annotated[
    list[str] | None,
    typer.Option(
        "-q",
        "--queues",
        metavar="A,B",
        envvar="AIOTQ_QUEUES",
        rich_help_panel="Or all that there is",
        help="Each of these must have a worker, and no other.",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        rich_help_panel="Other",
        help=f"How long the answer may take ({TIMEOUT_S:g}).",
        parser=positive_seconds,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", rich_help_panel="Other", help="One JSON object, for scripts.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of asking: the facts, for scripts, and lines, for people."""

    healthy: bool
    facts: dict[str, object]
    lines: tuple[str, ...]


def health(
    *,
    health_port: HealthPort = None,
    health_host: HealthHost = LOOPBACK,
    live: Live = False,
    url: Url = None,
    namespace: Namespace = None,
    app: AppName = None,
    queues: Queues = None,
    timeout: Timeout = TIMEOUT_S,
    as_json: AsJson = False,
) -> int:
    """Ask how a worker, or all that there is, does. Exit code 1 if not well."""
    timeout = min(timeout, LONGEST_S)
    if health_port == 0:
        raise Mistake("port 0 is no port that can be asked", "name the one that the worker has said as it started")
    if health_port is not None and url is None and not queues:
        asked = ask_worker(EVERY_ADDRESS.get(health_host, health_host), health_port, live=live, timeout_s=timeout)
    elif live:
        raise Mistake("--live asks a worker, and none was named", "name its --health-port")
    else:
        named = [word.strip() for part in queues or () for word in part.split(",") if word.strip()]
        for name in named:
            checks.queue("queues", name)
        if app is not None:
            source, namespace = _whose(app, url=url, namespace=namespace)
        else:
            source, namespace = choose(override=url, given=None), "aiotq" if namespace is None else namespace
        asked = ask_store(source, checks.namespace("namespace", namespace), named, timeout_s=timeout)
    said = [json.dumps({"healthy": asked.healthy, **asked.facts})] if as_json else asked.lines
    Paper(sys.stdout, look_of(sys.stdout, os.environ)).write([((printable(line), ""),) for line in said])
    return EXIT_OK if asked.healthy else EXIT_FAILURE


# --- a worker -----------------------------------------------------------------------------------------------------


def ask_worker(host: str, number: int, *, live: bool, timeout_s: float) -> Asked:
    """Ask one by its port."""
    lives, dead = _get(host, number, "/livez", timeout_s)
    ready, why = (lives, dead) if live or not lives else _get(host, number, "/readyz", timeout_s)
    facts: dict[str, object] = (
        {"live": lives, "reason": why} if live else {"live": lives, "ready": ready, "reason": why}
    )
    line = ("live" if live else "ready") if ready else f"not {'ready' if lives else 'live'}: {why}"
    return Asked(healthy=ready, facts=facts, lines=(line,))


def _get(host: str, number: int, path: str, timeout_s: float) -> tuple[bool, str | None]:
    """Whether the answer is yes, and if not, why not."""
    from http.client import HTTPConnection, HTTPException  # noqa: PLC0415  30 ms that no other command needs

    connection = HTTPConnection(host, number, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read(1024).decode(errors="replace").strip()
    except (OSError, HTTPException, UnicodeError) as error:
        return False, f"no worker answers at {host}:{number} ({cause(str(error)) or type(error).__name__})"
    finally:
        connection.close()
    if answer.status in {200, 503}:
        return answer.status == 200, None if answer.status == 200 else said
    return False, f"what answers at {host}:{number} is no worker of aiotq's (HTTP {answer.status})"


# --- all that there is --------------------------------------------------------------------------------------------


def _whose(target: str, *, url: str | None, namespace: str | None) -> tuple[Source, str]:
    """The server and the namespace of an app. Raises Mistake where it can't be loaded."""
    from aiotq.cli.operate import reach  # noqa: PLC0415  100 ms that a probe by its port does not need

    app = reach.app_of(reach.Where(url=url, namespace=namespace, target=target))
    return app.source(), reach.namespace_of(app)


def ask_store(source: Source, namespace: str, named: list[str], *, timeout_s: float) -> Asked:
    """Ask the server. Starts none."""
    if source.url.startswith("memory://"):
        raise Mistake(f"{source} lives inside one process and can't be asked by another", "name a server that can")
    if embedded_runs(source.url) is False:
        return _store_away(none_runs(source))
    try:
        survey = asyncio.run(_survey(source, namespace, timeout_s))
    except TimeoutError:
        return _store_away(f"no answer within {duration(timeout_s)}: {source}")
    except StoreUnavailable as error:
        return _store_away(f"no answer ({reason(str(error))}): {source}")
    except StoreError as error:
        return _store_away(f"{error} (from {source.origin})")
    return judge(survey, named)


async def _survey(source: Source, namespace: str, timeout_s: float) -> Survey:
    store = connect(source.url, namespace=namespace, connect_timeout_s=timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            await store.open()
            return await store.survey()
    finally:
        await store.close()


def _store_away(line: str) -> Asked:
    return Asked(healthy=False, facts={"store": False, "reason": line}, lines=(line,))


def judge(survey: Survey, named: list[str]) -> Asked:
    """What the survey means. named: the queues that must have a worker; none: those in which something waits."""
    served = {queue for queues in survey.workers.values() for queue in queues}
    needed = named or [queue for queue, waits in survey.queues.items() if waits]
    alone = [queue for queue in needed if queue not in served]
    ping_ms = round(survey.ping_s * 1000, 3)
    lines = [f"the server answers in {duration(survey.ping_s)}"]
    if survey.workers:
        lines.append(f"workers: {listed(sorted(survey.workers))}")
    why = None
    if survey.full:
        why = "the server is full: it refuses every new job"
    elif not survey.workers:
        why = "no worker is alive"
    elif alone:
        why = f"no worker serves {listed(alone)}"
    if why is not None:
        lines.append(why)
    facts: dict[str, object] = {
        "store": True,
        "ping_ms": ping_ms,
        "full": survey.full,
        "workers": {label: list(queues) for label, queues in survey.workers.items()},
        "queues": {
            queue: {"served": queue in served, "waiting": survey.queues.get(queue, False)}
            for queue in sorted({*survey.queues, *named})
        },
        "reason": why,
    }
    return Asked(healthy=why is None, facts=facts, lines=tuple(lines))
