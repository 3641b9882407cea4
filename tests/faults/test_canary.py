"""A password is in no output: not of a fault, not of a repr, not of an error or what stands behind it.

A canary is the password, in every form in which a URL can carry it; then everything that can be made to speak is, and
all that it says is searched.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from aiotq import App
from aiotq.cli import main as command_line
from aiotq.cli.jsonlog import JsonFormatter
from aiotq.cli.options import WorkerOptions
from aiotq.current import CurrentJob
from aiotq.errors import AiotqError, StoreError
from aiotq.source import Source
from aiotq.store import connect
from aiotq.store.connection.route import route
from aiotq.store.connection.sentinel import sentinels
from aiotq.supervisor.words import Registered
from aiotq.worker.call import Call
from aiotq.worker.settings import WorkerSettings
from tests import servers
from tests.faults.canary import CANARY, filled, quiet
from tests.faults.fake_server import Error, answering, sentinel
from tests.faults.sentinel_rig import free_port
from tests.process.ledger import until
from tests.process.rig import Rig
from tests.worker.kit import Events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FORMS = [
    "redis://:{}@127.0.0.1:1/0",
    "redis://ada:{}@127.0.0.1:1",
    "redis://127.0.0.1:1?password={}",
    "redis://127.0.0.1:1?username=ada&password={}&db=1",
    "rediss://:{}@127.0.0.1:1",
    "rediss://127.0.0.1:1?ssl_cert_reqs=none&ssl_password={}&password={}",
    "unix:///nowhere/s?password={}",
    "unix://ada:{}@/nowhere/s",
    "redis+sentinel://:{}@127.0.0.1:1,127.0.0.1:2/jobs",
    "redis+sentinel://ada:{}@127.0.0.1:1/jobs/3?sentinel_username=bob&sentinel_password={}",
    "rediss+sentinel://127.0.0.1:1/jobs?password={}&sentinel_password={}",
]
WRONG_FORMS = [
    "redis://ada:{}",
    "redis://{}@127.0.0.1:1/x?db=y",
    "redis://:S3CR3T/c4n4ry@127.0.0.1:1",
    "redis://:S3CR3T#c4n4ry@127.0.0.1:1",
    "redis://:S3CR3T?c4n4ry@127.0.0.1:1",
    "redis://:S3CR3T@c4n4ry@127.0.0.1:y",
    "redis://h?pasword={}",
    "redis://h?sentinel_password={}",
    "redsi://:{}@h",
    ":{}@h:1",
    "redis://:{}@[h",
    "redis+sentinel://:{}@h1:1,:{}@h2:1/jobs",
    "redis+sentinel://h1:{}/jobs",
    "redis+sentinel://:{}@h1:1",
    "embedded://:{}@h?password={}",
]


# --- errors and values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
async def test_no_error_of_a_server_that_is_away_holds_it(form: str):
    app = App(filled(form), connect_timeout=0.2)

    @app.task
    async def nothing() -> None: ...

    errors: list[AiotqError] = []
    for use in (
        nothing.delay,
        app.job("j1").status,
        app.job("j1").result,
        app.__aenter__,
        app.worker().run_until_empty,
    ):
        with pytest.raises(AiotqError) as caught:
            await use()
        errors.append(caught.value)
    quiet(*errors, *(error.url for error in errors if isinstance(error, StoreError)), app, app._core.client())
    await app._core.close()


@pytest.mark.parametrize("form", WRONG_FORMS)
async def test_no_error_of_a_url_that_cant_be_right_holds_it(form: str, monkeypatch, capsys):
    with pytest.raises(AiotqError) as caught:
        connect(filled(form), namespace="test", connect_timeout_s=0.2)
    quiet(caught.value)
    for words in (["hello", "--url", filled(form)], [filled(form)], ["server", "status", "--url", filled(form)]):
        monkeypatch.setattr(sys, "argv", ["aiotq", *words])
        assert command_line.main() != 0
        quiet(*capsys.readouterr())


@pytest.mark.parametrize("form", FORMS)
def test_no_value_shows_it(form: str):
    url = filled(form)
    job = CurrentJob(id="j1", attempt=1, retries=0, task="t", queue="q", priority=5, enqueued_ms=0, fence=1)
    values: list[Any] = [
        Source(url=url, origin="App(url)"),
        WorkerSettings(queues=("a",), url=url),
        WorkerOptions(target="hello", url=url),
        Registered(url=url, namespace="n", worker_id="w", lease_s=1.0),
        Call(
            module="m", path="p", args=b"", kwargs=b"", job=job, max_result=1, spread=0.0, traceback=False, url=url,
            namespace="n",
        ),
        App(url),
        connect(url, namespace="test", connect_timeout_s=1),
        sentinels(url, limit_s=1) if "sentinel" in url else route(url, limit_s=1),
    ]  # fmt: skip
    quiet(*values)


async def test_a_server_that_repeats_what_it_was_sent_is_not_quoted():
    """As one does that knows no AUTH, or has it renamed."""

    def parrot(words: list[str]) -> Any:
        told = ", ".join(f"'{word}'" for word in words[1:])
        return Error(f"ERR unknown command '{words[0]}', with args beginning with: {told}")

    async with answering(parrot) as port, answering(sentinel(master=("127.0.0.1", port))) as knows:
        for url in (
            f"redis://:{CANARY}@127.0.0.1:{port}",
            f"redis+sentinel://:{CANARY}@127.0.0.1:{knows}/jobs",
            f"redis+sentinel://127.0.0.1:{port}/jobs?sentinel_password={CANARY}",
        ):
            store = connect(url, namespace="test", connect_timeout_s=0.3)
            with pytest.raises(StoreError) as caught:
                await store.open()
            await store.close()
            quiet(caught.value)


# --- a worker in this process, in asyncio's debug mode ----------------------------------------------------------------


class Heard(logging.Handler):
    """All that is logged, as lines for machines and as Python's own."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = StringIO()
        self.events = Events()
        self._json, self._plain = JsonFormatter(), logging.Formatter("%(name)s %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        self.events.emit(record)
        extras = {name: value for name, value in vars(record).items() if name not in ("args", "msg")}
        self.text.write(f"{self._json.format(record)}\n{self._plain.format(record)}\n{extras!r}\n")


@pytest_asyncio.fixture
async def heard() -> AsyncIterator[Heard]:
    made, root = Heard(), logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("", "aiotq", "asyncio", "redis")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(made)
    yield made
    root.removeHandler(made)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


async def test_a_failover_says_nothing_of_it_even_in_asyncios_debug_mode(
    server_folder: Path, namespace: str, heard: Heard
):
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0  # each callback is slow: its repr is logged
    async with AsyncExitStack() as stack:
        ports: list[int] = []
        for name in ("a", "b"):
            (server_folder / name).mkdir()
            ports.append(free_port())
            options = ("--port", str(ports[-1]), "--bind", "127.0.0.1", "--requirepass", CANARY)
            stack.enter_context(servers.running("valkey", server_folder / name, *options))
        masters = [("127.0.0.1", ports[0])]

        def watch(words: list[str]) -> Any:
            return sentinel(master=masters[0])(words)

        watching = await stack.enter_async_context(answering(watch))
        url = f"redis+sentinel://:{CANARY}@127.0.0.1:{watching}/jobs?sentinel_password={CANARY}"
        app = App(url, namespace=namespace, connect_timeout=2)

        @app.task
        async def answer() -> int:
            return 42

        async with app.worker():
            assert await (await answer.delay()).result(timeout=10) == 42
            masters[0] = ("127.0.0.1", ports[1])
            old: Any = Redis(port=ports[0], password=CANARY)
            await old.execute_command("REPLICAOF", "127.0.0.1", str(ports[1]))
            await heard.events.line("master")
            await old.aclose()
            assert await (await answer.delay()).result(timeout=10) == 42
        await app._core.close()
    quiet(heard.text.getvalue())
    assert f"redis+sentinel://:***@127.0.0.1:{watching}/jobs" in heard.text.getvalue()
    assert "Executing" in heard.text.getvalue(), "the debug mode has spoken"


async def test_a_wrong_password_is_not_shown_either(server_folder: Path, namespace: str, heard: Heard):
    with servers.running("valkey", server_folder, "--requirepass", "another one") as valkey:
        app = App(f"{valkey.url}?password={CANARY}", namespace=namespace, connect_timeout=1)

        @app.task
        async def nothing() -> None: ...

        for use in (app.worker().start, nothing.delay):
            with pytest.raises(StoreError, match="WRONGPASS") as caught:
                await use()
            quiet(caught.value)
            logging.getLogger("aiotq").error("that was", exc_info=caught.value)
        await app._core.close()
    quiet(heard.text.getvalue())


# --- the command line, in processes of its own ------------------------------------------------------------------------


@pytest_asyncio.fixture
async def rig(server_folder: Path, namespace: str) -> AsyncIterator[Rig]:
    made = Rig(folder=server_folder, namespace=namespace)
    yield made
    await made.close()


def argv_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.mark.parametrize("form", ["text", "json"])
async def test_no_process_of_a_worker_says_it_whatever_happens(rig: Rig, form: str):
    """Banner, jobs, a restart of the server, a killed process under a supervisor, and the arguments of each."""
    rig.url += f"?password={CANARY}"
    rig.app = App(rig.url, namespace=rig.namespace)
    rig.tasks = type(rig.tasks)(rig.app)
    locked = ("--requirepass", CANARY)
    await rig.start_server(*locked)
    options = ("-v", "--log-format", form, "--lease", "2") + (("--processes", "1") if form == "json" else ())
    worker = await rig.worker(*options, ready=False)
    await rig.until_registered(1)
    (member,) = await rig.raw.zrange(f"{rig.prefix}workers", 0, -1)
    pid = int(await rig.raw.hget(f"{rig.prefix}worker:{member.decode()}", "pid"))
    quiet(argv_of(worker.pid), argv_of(pid))
    await rig.all_ended([await rig.tasks.note.delay()])
    await rig.kill_server()
    await until(_said(worker, "no Redis at" if form == "text" else "store_down"), "it says that the server is away")
    await rig.start_server(*locked)
    await rig.all_ended([await rig.tasks.note.delay()])
    if form == "json":
        assert (await worker.line("ready"))["pid"] == pid
        os.kill(pid, signal.SIGKILL)
        await worker.line("reclaimed")
        await worker.line("ready")  # its successor: what a supervisor ends with is how the last process ended
    await rig.stop(worker)
    assert "?password=***" in worker.text
    quiet(worker.text)


def _said(worker: Any, what: str) -> Any:
    async def said() -> bool:
        return what in worker.text

    return said


async def test_a_worker_that_gives_up_says_where_it_looked_and_no_more(rig: Rig):
    urls = (f"redis://:{CANARY}@127.0.0.1:1", f"redis+sentinel://:{CANARY}@127.0.0.1:1/jobs")

    async def give_up(url: str, form: str) -> str:
        worker = await rig.worker("--url", url, "--until-empty", "--log-format", form, ready=False)
        assert await worker.exit() == 1
        return worker.text

    said = await asyncio.gather(*(give_up(url, form) for url in urls for form in ("text", "json")))
    assert all(":***@127.0.0.1:1" in text for text in said)
    quiet(*said)
