"""`aiotq dashboard`: the pages, on a port of this machine."""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any

from aiotq.cli.look import Paper, look_of
from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK, Mistake
from aiotq.cli.operate import options
from aiotq.cli.operate.reach import Where, app_of, namespace_of, reachable, say_json, theirs_on_stderr, warnings_said
from aiotq.cli.options import LOOPBACK
from aiotq.cli.options import port as port_of
from aiotq.cli.resolve import imported
from aiotq.cli.text import printable
from aiotq.probes import address_of, listen

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from aiotq.web.access import Access

PORT = 8383
HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?")
_GUARD, _PLACE = "Who may come in", "At which address"

HELP = """\
aiotq dashboard [options]

The dashboard in your browser: what is wrong, queues, jobs, failures, workers, and what can be done
about it. It listens on this machine alone. At another address it needs --token, --basic or --auth.
--json prints one object with its address once it listens, and it serves on.
A service can have it in itself instead: app.mount("/jobs", aiotq_dashboard(app))."""
EXAMPLE = """\
Others on this machine can read a secret here; in AIOTQ_DASHBOARD_TOKEN and AIOTQ_DASHBOARD_BASIC
they can't.
Exit codes: 0 ended by Ctrl-C or SIGTERM, 1 its port is taken, 2 used wrongly.

Example: for the others of a team, to look only

  AIOTQ_DASHBOARD_TOKEN=... aiotq dashboard --host 0.0.0.0 --read-only"""

Host = Annotated[
    str, options.option("--host", group=_PLACE, takes="HOST", text=f"At this address of the machine ({LOOPBACK}).")
]
Port = Annotated[
    int,
    options.option(
        "--port", group=_PLACE, takes="PORT", text=f"At this port ({PORT}); 0: any that is free.", parser=port_of
    ),
]
RootPath = Annotated[
    str,
    options.option("--root-path", group=_PLACE, takes="PATH", text="What a proxy takes off the beginning of paths."),
]
AllowHost = Annotated[
    list[str] | None,
    options.option(
        "--allow-host",
        group=_PLACE,
        takes="NAME",
        text="A further name by which it may be asked, as by a proxy. At another --host, which answers to any name, it "
        "answers to this one, to HOST and to localhost alone.",
    ),
]
Token = Annotated[
    str | None,
    options.option(
        "--token",
        group=_GUARD,
        takes="TOKEN",
        env="AIOTQ_DASHBOARD_TOKEN",
        text="A secret of 16 characters or more that each visitor types in.",
    ),
]
Basic = Annotated[
    list[str] | None,
    options.option(
        "--basic",
        group=_GUARD,
        takes="USER:PASSWORD",
        env="AIOTQ_DASHBOARD_BASIC",
        text="A user and a password; once for each user.",
    ),
]
Auth = Annotated[
    str | None,
    options.option(
        "--auth",
        group=_GUARD,
        takes="MODULE:FUNCTION",
        text="A function that gets the ASGI scope and returns who it is, or None: refused.",
    ),
]
ReadOnly = Annotated[bool, options.option("--read-only", group=_GUARD, text="It shows all and does nothing.")]
Redact = Annotated[
    str | None,
    options.option(
        "--redact",
        group=_GUARD,
        takes="MODULE:FUNCTION",
        text="A function that gets a task's name and arguments, and returns those that are shown.",
    ),
]


def dashboard(
    *,
    host: Host = LOOPBACK,
    port: Port = PORT,
    root_path: RootPath = "",
    allow_host: AllowHost = None,
    token: Token = None,
    basic: Basic = None,
    auth: Auth = None,
    read_only: ReadOnly = False,
    redact: Redact = None,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
) -> int:
    """Serve it."""
    _needs_the_extra()
    from aiotq.web import aiotq_dashboard  # noqa: PLC0415  no other command has what it loads
    from aiotq.web.access import LOOPBACK_NAMES, Access  # noqa: PLC0415
    from aiotq.web.serve import serve  # noqa: PLC0415

    names, below = [_name(text) for text in allow_host or ()], _path(root_path)
    access = Access(
        token=token,
        basic=dict(_pair(text) for text in basic or ()),
        hook=None if auth is None else function(auth, "--auth"),
        read_only=read_only,
        hosts=None,
    )
    alone = host in LOOPBACK_NAMES
    _refuse_open_door(host, alone=alone, guarded=access.guarded)
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json)
    found = app_of(where)
    server = f"{reachable(where, found.source())}, namespace {namespace_of(found)}"
    hides = None if redact is None else function(redact, "--redact")
    listening = _listen(host, port)
    made = aiotq_dashboard(
        found,
        token=access.token,
        basic=access.basic,
        auth=access.hook,
        read_only=read_only,
        redact=hides,
        hosts=[*LOOPBACK_NAMES, host, *names] if alone or names else None,
    )
    _say(where, f"{address_of(listening)}{below}/", server, access)
    with warnings_said(), theirs_on_stderr():
        serve(made, found, listening, root_path=below)
    return EXIT_OK


def _name(text: str) -> str:
    """A host's name or address, as browsers send it, without port. Raises Mistake."""
    if HOST_NAME.fullmatch(text):
        return text
    try:
        return str(ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise Mistake(
            f"--allow-host {printable(text)} is no name of a host",
            "write the name or the address alone, without http:// and port, as in --allow-host jobs.example",
        ) from None


def _path(text: str) -> str:
    """What all paths begin with, without a slash at its end. Raises Mistake."""
    if ROOT_PATH.fullmatch(text):
        return text.removesuffix("/")
    raise Mistake(
        f"--root-path {printable(text)} is no path",
        "write --root-path /jobs if the proxy has it at https://jobs.example/jobs/",
    )


def _say(where: Where, address: str, server: str, access: Access) -> None:
    """Where it is, now that it listens: on stderr, or as JSON on stdout."""
    if where.as_json:
        open_to = _open_to(access)
        say_json({"dashboard": address, "server": printable(server), "open_to": open_to, "read_only": access.read_only})
        return
    may = "look only" if access.read_only else "look and act"
    shown = [("dashboard", address), ("server", server), ("open to", _open_to(access)), ("may", may)]
    paper = Paper(sys.stderr, look_of(sys.stderr, os.environ))
    paper.write([((f"  {label:<14}", "dim"), (printable(text), "")) for label, text in shown])
    paper.write([(("  Ctrl-C stops.", "dim"),)])


def function(target: str, option: str) -> Callable[..., Any]:
    """The function that `module:function` names. Raises Mistake."""
    module, _, name = target.partition(":")
    with theirs_on_stderr():
        value = getattr(imported(module), name, None) if name else None
    if not callable(value):
        raise Mistake(f"{option} {printable(target)} names no function", f"name one: {option} MODULE:FUNCTION")
    return value


def _pair(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise Mistake("--basic is no user and password", "write --basic USER:PASSWORD, once for each user")
    return user, password


def _open_to(access: Access) -> str:
    if access.token is not None:
        return "whoever knows the token"
    if access.basic:
        return f"{', '.join(sorted(access.basic))}, with a password"
    return "whom --auth names" if access.hook is not None else "everybody on this machine"


def _refuse_open_door(host: str, *, alone: bool, guarded: bool) -> None:
    """Raise Mistake for an address that others reach and that nobody guards."""
    if not alone and not guarded:
        raise Mistake(
            f"others could reach the dashboard at {printable(host)}, and nothing says who may come in",
            "add --token (or AIOTQ_DASHBOARD_TOKEN), --basic USER:PASSWORD or --auth MODULE:FUNCTION",
            f"or leave --host out: then only this machine can ({LOOPBACK})",
        )


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(LOOPBACK if host == "localhost" else host, port)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Mistake(
            f"the dashboard can't listen at {printable(host)}:{port} ({why})",
            "name another with --port, or --port 0 for any that is free",
            exit_code=EXIT_FAILURE,
        ) from error


def _needs_the_extra() -> None:
    """Raises Mistake where it is not installed."""
    for name in ("jinja2", "starlette", "uvicorn"):
        if find_spec(name) is None:
            raise Mistake(f"the dashboard needs {name}, which is not installed", "run: pip install 'aiotq[web]'")
