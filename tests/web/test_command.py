"""`aiotq dashboard`: what it makes of its options in this process, what it is as one of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from aiotq.cli import main as command_line
from tests.processes import PATH, ROOT, die_with_parent
from tests.web.visitor import visitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

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
        env={**os.environ, "PYTHONPATH": PATH, "NO_COLOR": "1", **env},
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


@dataclass(kw_only=True)
class Command:
    """`aiotq dashboard`, in this process: it serves nothing, and what it would have served is kept."""

    patch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    served: Any = None
    root_path: str = ""
    apps: list[Any] = field(default_factory=list[Any])

    def run(self, *options: str) -> tuple[int, str]:
        """The exit code, and what it said on stderr. A port of its own, unless another is named."""
        self.patch.setattr(sys, "argv", ["aiotq", "dashboard", "--url", AWAY, "--port", "0", *options])
        code = command_line.main()
        said = self.capsys.readouterr()
        assert said.out == ""
        return code, said.err

    def serve(self, made: Any, app: Any, listening: socket.socket, *, root_path: str) -> None:
        listening.close()
        self.served, self.root_path = made, root_path
        self.apps.append(app)

    @asynccontextmanager
    async def visitor(self, *options: str, at: str = "http://127.0.0.1:8383") -> AsyncIterator[httpx.AsyncClient]:
        """Somebody who looks at what these options make."""
        code, said = self.run(*options)
        assert code == 0, said
        async with visitor(self.served, at=at) as client:
            yield client
        await self.apps.pop().__aexit__(None, None, None)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """See there."""
    for name in [name for name in os.environ if name.startswith("AIOTQ_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")
    made = Command(patch=monkeypatch, capsys=capsys)
    monkeypatch.setattr("aiotq.web.serve.serve", made.serve)
    return made


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "jobs.example"])
def test_it_refuses_to_be_open_to_others_without_a_guard(command: Command, host: str) -> None:
    code, said = command.run("--host", host)
    assert code == 2
    assert "nothing says who may come in" in said
    assert "--token" in said
    assert command.served is None


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
        (("--allow-host", "http://jobs.example"), "no name of a host"),
        (("--allow-host", "jobs.example:443"), "without http:// and port"),
        (("--allow-host", "*"), "no name of a host"),
        (("--root-path", "jobs"), "--root-path jobs is no path"),
        (("--root-path", "http://jobs.example/jobs"), "write --root-path /jobs"),
        (("--root-path", "//jobs"), "is no path"),
        (("--root-path", "/jobs; Domain=example"), "is no path"),
    ],
)
def test_what_cannot_be_right_is_said_in_a_line(command: Command, options: tuple[str, ...], word: str) -> None:
    code, said = command.run(*options)
    assert code == 2
    assert word in said
    assert "Traceback" not in said
    assert command.served is None


async def test_a_mistake_ends_the_process_with_its_exit_code() -> None:
    process = await start("--url", AWAY, "--host", "0.0.0.0")
    _, said = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode == 2
    assert said.decode().startswith("error: ")
    assert "Traceback" not in said.decode()


@pytest.mark.parametrize("option", ["--auth", "--redact"])
def test_what_a_hook_of_theirs_prints_is_not_on_stdout(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str
) -> None:
    (tmp_path / "chatty_hooks.py").write_text("print('loaded')\ndef hook(*given): print('called')\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "chatty_hooks", raising=False)

    def serve(made: Any, app: Any, listening: socket.socket, **more: Any) -> None:
        sys.modules["chatty_hooks"].hook({})
        command.serve(made, app, listening, **more)

    monkeypatch.setattr("aiotq.web.serve.serve", serve)
    code, said = command.run(option, "chatty_hooks:hook")
    assert code == 0
    assert said.startswith("loaded\n")
    assert said.endswith("called\n")


@pytest.mark.parametrize(("given", "path"), [("", ""), ("/", ""), ("/jobs", "/jobs"), ("/ops/jobs-2/", "/ops/jobs-2")])
def test_a_root_path_stands_in_its_address(command: Command, given: str, path: str) -> None:
    code, said = command.run("--root-path", given)
    assert code == 0
    assert re.search(rf"http://127\.0\.0\.1:\d+{path}/\n", said)
    assert command.root_path == path


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_name_that_is_allowed_is_so_at_any_address_and_no_other(command: Command, host: str) -> None:
    names = ("--allow-host", "Jobs.Example", "--allow-host", "[2001:DB8::1]")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    async with command.visitor("--host", host, "--token", TOKEN, *names) as client:
        for name in ("jobs.example", "jobs.example:443", "[2001:db8::1]:8383", "localhost", host):
            assert (await client.get("/nowhere", headers={"Host": name, **bearer})).status_code == 404, name
        for name in ("evil.example", "192.0.2.7"):
            assert (await client.get("/nowhere", headers={"Host": name, **bearer})).status_code == 421, name


async def test_at_another_address_it_answers_to_any_name_unless_one_is_allowed(command: Command) -> None:
    async with command.visitor("--host", "0.0.0.0", "--token", TOKEN) as client:
        shown = await client.get("/nowhere", headers={"Host": "any.example", "Authorization": f"Bearer {TOKEN}"})
        assert shown.status_code == 404


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


async def test_a_token_from_the_environment_guards_it_everywhere(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOTQ_DASHBOARD_TOKEN", TOKEN)
    async with command.visitor("--host", "0.0.0.0") as client:
        assert (await client.get("/nowhere")).status_code == 303
        assert (await client.get("/nowhere", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 404


async def test_a_hook_and_passwords_guard_it(command: Command) -> None:
    async with command.visitor("--auth", "tests.web.test_command:hook") as client:
        assert (await client.get("/nowhere")).status_code == 403
        assert "you are ada (dashboard)" in (await client.get("/nowhere", headers={"X-User": "ada"})).text
    async with command.visitor("--basic", "ada:lovelace") as client:
        assert (await client.get("/nowhere")).status_code == 401
        assert (await client.get("/nowhere", auth=("ada", "lovelace"))).status_code == 404


async def test_below_a_proxy_its_links_have_the_path_that_the_proxy_takes_off() -> None:
    async with (
        running("--url", AWAY, "--root-path", "/jobs", "--allow-host", "jobs.example") as (_, address),
        httpx.AsyncClient(base_url=address.removesuffix("/jobs/"), timeout=WITHIN_S) as client,
    ):
        shown = await client.get("/nowhere", headers={"Host": "jobs.example"})
        assert shown.status_code == 404
        assert 'href="/jobs/queues"' in shown.text
        assert (await client.get("/static/app.js")).status_code == 200


def test_a_port_that_is_taken_is_said(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = command.run("--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "can't listen" in said


async def test_it_costs_no_other_command_what_it_loads() -> None:
    code = (
        "import sys, aiotq, aiotq.cli.main, aiotq.app; "
        "sys.exit(bool({'starlette', 'jinja2', 'uvicorn', 'redis'} & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT)
    assert await asyncio.wait_for(process.wait(), WITHIN_S) == 0
