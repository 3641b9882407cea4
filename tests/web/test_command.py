"""`aiotq dashboard`, as a process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.processes import ROOT, die_with_parent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers import Server

TOKEN = "a-token-that-nobody-guesses"
WITHIN_S = 30.0
AWAY = "redis://127.0.0.1:1"


def hook(scope: Any) -> str | None:
    """For --auth."""
    return dict(scope["headers"]).get(b"x-user", b"").decode() or None


async def start(*options: str, **env: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiotq", "dashboard", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **env},
        preexec_fn=die_with_parent,
    )


@asynccontextmanager
async def running(*options: str, **env: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A dashboard on a free port, and its address."""
    process = await start("--port", "0", *options, **env)
    assert process.stderr is not None
    said = b""
    try:
        async with asyncio.timeout(WITHIN_S):
            while b"Ctrl-C stops" not in said:
                line = await process.stderr.readline()
                assert line, f"it ended: {said.decode()}"
                said += line
        found = re.search(r"dashboard +(http://\S+)", said.decode())
        assert found is not None
        yield process, found[1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "jobs.example"])
async def test_it_refuses_to_be_open_to_others_without_a_guard(host: str) -> None:
    process = await start("--host", host, "--port", "0", "--url", AWAY)
    _, said = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode == 2
    assert "nothing says who may come in" in said.decode()
    assert "--token" in said.decode()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--token", "short"), "16 or more"),
        (("--basic", "ada"), "USER:PASSWORD"),
        (("--auth", "tests.web.test_command"), "names no function"),
        (("--auth", "tests.web.test_command:nothing"), "names no function"),
        (("--auth", "tests.web.no_such:hook"), "there is no module"),
        (("--redact", "tests.web.test_command:TOKEN"), "names no function"),
        (("--port", "99999"), "no port"),
        (("--url", "memory://x"), "inside one process"),
    ],
)
async def test_what_cannot_be_right_is_said_in_a_line(options: tuple[str, ...], word: str) -> None:
    process = await start("--url", AWAY, *options)
    _, said = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode == 2
    assert word in said.decode()
    assert "Traceback" not in said.decode()


async def test_it_shows_its_pages_and_ends_gently_while_somebody_looks(valkey: Server, namespace: str) -> None:
    async with (
        running("--url", valkey.url, "--namespace", namespace) as (process, address),
        httpx.AsyncClient(base_url=address, timeout=WITHIN_S) as client,
    ):
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/", headers={"Host": "evil.example"})).status_code == 421
        async with client.stream("GET", "/events?page=overview") as events:
            lines = events.aiter_lines()
            while not (await asyncio.wait_for(anext(lines), WITHIN_S)).startswith("event: parts"):
                pass
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), WITHIN_S) == 0
        assert process.stdout is not None
        assert await process.stdout.read() == b""


async def test_as_json_its_address_is_alone_on_stdout_once_it_listens(namespace: str) -> None:
    process = await start("--port", "0", "--url", AWAY, "--namespace", namespace, "--read-only", "--json")
    assert process.stdout is not None
    try:
        said = json.loads(await asyncio.wait_for(process.stdout.readline(), WITHIN_S))
        async with httpx.AsyncClient(base_url=said.pop("dashboard"), timeout=WITHIN_S) as client:
            assert (await client.get("/")).status_code == 503
    finally:
        process.send_signal(signal.SIGTERM)
    rest = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert (process.returncode, rest) == (0, (b"", b""))
    server = f"{AWAY} (from --url), namespace {namespace}"
    assert said == {"server": server, "open_to": "everybody on this machine", "read_only": True}


async def test_without_its_server_it_starts_and_says_so() -> None:
    async with (
        running("--url", AWAY) as (process, address),
        httpx.AsyncClient(base_url=address, timeout=WITHIN_S) as client,
    ):
        shown = await client.get("/")
        assert shown.status_code == 503
        assert "no answer from redis://127.0.0.1:1" in shown.text
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), WITHIN_S) == 0


async def test_a_token_from_the_environment_guards_it_everywhere() -> None:
    async with (
        running("--url", AWAY, "--host", "0.0.0.0", AIOTQ_DASHBOARD_TOKEN=TOKEN) as (_, address),
        httpx.AsyncClient(base_url=address.replace("0.0.0.0", "127.0.0.1"), timeout=WITHIN_S) as client,
    ):
        assert (await client.get("/", headers={"Accept": "text/html"})).status_code == 303
        assert (await client.get("/", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 503


async def test_a_hook_and_passwords_guard_it() -> None:
    async with (
        running("--url", AWAY, "--auth", "tests.web.test_command:hook") as (_, address),
        httpx.AsyncClient(base_url=address, timeout=WITHIN_S) as client,
    ):
        assert (await client.get("/")).status_code == 403
        assert "you are ada (dashboard)" in (await client.get("/", headers={"X-User": "ada"})).text
    async with (
        running("--url", AWAY, "--basic", "ada:lovelace") as (_, address),
        httpx.AsyncClient(base_url=address, timeout=WITHIN_S) as client,
    ):
        assert (await client.get("/")).status_code == 401
        assert (await client.get("/", auth=("ada", "lovelace"))).status_code == 503


async def test_below_a_proxy_its_links_have_the_path_that_the_proxy_takes_off() -> None:
    async with (
        running("--url", AWAY, "--root-path", "/jobs", "--allow-host", "jobs.example") as (_, address),
        httpx.AsyncClient(base_url=address.removesuffix("/jobs/"), timeout=WITHIN_S) as client,
    ):
        shown = await client.get("/nowhere", headers={"Host": "jobs.example"})
        assert shown.status_code == 404
        assert 'href="/jobs/queues"' in shown.text
        assert (await client.get("/static/app.js")).status_code == 200


async def test_a_port_that_is_taken_is_said() -> None:
    async with running("--url", AWAY) as (_, address):
        process = await start("--url", AWAY, "--port", address.rstrip("/").rpartition(":")[2])
        _, said = await asyncio.wait_for(process.communicate(), WITHIN_S)
        assert process.returncode == 1
        assert "can't listen" in said.decode()


async def test_it_costs_no_other_command_what_it_loads() -> None:
    code = (
        "import sys, aiotq, aiotq.cli.main, aiotq.app; "
        "sys.exit(bool({'starlette', 'jinja2', 'uvicorn', 'redis'} & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT)
    assert await asyncio.wait_for(process.wait(), WITHIN_S) == 0
