"""A password is in no output: not of a fault, not of a repr, not of an error or what stands behind it.

A canary is the password, in every form in which a URL can carry it; then everything that can be made to speak is, and
all that it says is searched.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
import traceback
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
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
from aiotq.errors import AiotqError, StoreError, StoreFull, StoreRefused, StoreUnavailable
from aiotq.source import Source
from aiotq.store import connect
from aiotq.store.connection.route import route
from aiotq.store.connection.sentinel import sentinels
from aiotq.supervisor.words import Registered
from aiotq.worker.call import Call
from aiotq.worker.settings import WorkerSettings
from tests import servers
from tests.faults.fake_server import Error, answering, sentinel
from tests.faults.proxy import Fault, FaultProxy
from tests.faults.scale import only_full
from tests.faults.sentinel_rig import free_port
from tests.faults.server_rig import SLOWLY, ServerRig
from tests.faults.states import ALL, AWAY, NOAUTH, READONLY, State, config, run
from tests.probing import Probe
from tests.process.ledger import until
from tests.process.rig import Rig
from tests.process.tasks import Tasks
from tests.worker.kit import Events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.processes import WorkerProcess

CANARY = "S3CR3T-canary"
PARTS = ("S3CR3T", "c4n4ry")  # of one that was not encoded, each half is too much
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


def filled(form: str) -> str:
    return form.replace("{}", CANARY)


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that hangs on it, also what Python would not show."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def quiet(*texts: object) -> None:
    """Nothing here holds the canary, or a part of it."""
    for given in texts:
        for one in behind(given) if isinstance(given, BaseException) else [given]:
            shown = [str(one), repr(one)]
            if isinstance(one, BaseException):
                shown += ["".join(traceback.format_exception(one)), repr(one.args), repr(vars(one))]
            for text in shown:
                assert not any(part in text for part in PARTS), text.replace(CANARY, "<THE CANARY>")


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


# --- every state of a server ---------------------------------------------------------------------------------------


async def start_loading(rig: ServerRig) -> None:
    await rig.fill()
    await rig.raw.save()
    await rig.kill_server()
    rig.busy = asyncio.create_task(rig.start_server(*SLOWLY))
    await rig.until_loading()


async def load_at_once(rig: ServerRig) -> None:
    async with Redis.from_url(rig.url) as client:
        await client.config_set("key-load-delay", 0)
    assert rig.busy is not None
    await rig.busy


async def swallow(rig: ServerRig) -> None:
    """No script's answer comes through, and nothing behind it."""
    assert isinstance(rig, LockedRig)
    rig.proxy.arm(Fault.BLACK_HOLE, b"EVALSHA", times=1_000_000)


async def spit_out(rig: ServerRig) -> None:
    assert isinstance(rig, LockedRig)
    rig.proxy.arm(Fault.BLACK_HOLE, b"EVALSHA", times=0)
    rig.proxy.cut_all()


LOADING = State(
    name="LOADING",
    begin=start_loading,
    end=load_at_once,
    reason="the store refuses (LOADING)",
    error=StoreRefused,
    options=("--save", "900 1"),
)
OOM = State(name="OOM", begin=config(maxmemory=1), end=config(maxmemory=0), reason="ok", error=StoreFull)
WRONGPASS = replace(
    NOAUTH,
    name="WRONGPASS",
    end=run("ACL", "SETUSER", "default", "resetpass", f">{CANARY}"),
    reason="the store can't be used (WRONGPASS)",
)
BLACK_HOLE = State(
    name="black hole",
    begin=swallow,
    end=spit_out,
    reason="the store is away",
    error=StoreUnavailable,
)


@dataclass(kw_only=True)
class LockedRig(ServerRig):
    """A server with a password, and a proxy through which all others come."""

    proxy: FaultProxy = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.locked = ("--requirepass", CANARY)
        self.proxy = FaultProxy(self.folder / "s", self.folder / "p")
        self.url += f"?password={CANARY}"
        self.app = App(self.url, namespace=self.namespace)
        self.tasks = type(self.tasks)(self.app)

    @property
    def way(self) -> str:
        """The URL of the proxy, with the password."""
        return f"{self.proxy.url}?password={CANARY}"


@pytest_asyncio.fixture
async def locked(server_folder: Path, namespace: str) -> AsyncIterator[LockedRig]:
    made = LockedRig(folder=server_folder, namespace=namespace)
    async with made.proxy:
        yield made
        await made.close()


async def failures_of(app: App) -> list[BaseException]:
    """What its calls raise now."""
    note = Tasks(app).note
    calls = (note.delay(), app.enqueue_many([note.s()]), app.job("j1").info(), app.job("j1").result(timeout=0.3))
    found = await asyncio.gather(*calls, return_exceptions=True)
    return [one for one in found if isinstance(one, BaseException)]


async def health_of(worker: WorkerProcess) -> Probe:
    """Its health port, whatever form its log has."""
    found: list[str] = []

    async def said() -> bool:
        found[:] = re.findall(r"http://127\.0\.0\.1:\d+", worker.text)
        return bool(found)

    await until(said, "the worker says where its health port is")
    return Probe.of(found[0])


STATES = [*(state for state in ALL if state is not NOAUTH), WRONGPASS, LOADING, OOM, BLACK_HOLE]
A_FEW = (AWAY, READONLY, WRONGPASS, LOADING, BLACK_HOLE)


@pytest.mark.parametrize(
    "state",
    [pytest.param(state, id=str(state), marks=() if state in A_FEW else only_full) for state in STATES],
)
async def test_no_state_of_a_server_makes_anybody_say_it(locked: LockedRig, state: State):
    """Two workers, one that logs for people and one for machines; their health pages; two senders, one a stranger."""
    rig = locked
    await rig.start_server(*state.options)
    options = ("-v", "--health-port", "0", "-c", "1", "--log-format")
    workers = [await rig.worker(*options, form, url=rig.way, ready=False) for form in ("text", "json")]
    probes = [await health_of(worker) for worker in workers]
    known, stranger = (App(rig.way, namespace=rig.namespace, connect_timeout=0.5) for _ in range(2))
    jobs = [await Tasks(known).hold.delay() for _ in workers]
    await rig.ledger.until(len(jobs))
    await state.begin(rig)
    rig.open_gate()  # each has an outcome to store, and so meets the state
    for probe in probes:
        await probe.until(200 if state is OOM else 503, "ok" if state is OOM else state.reason)
    pages = [await probe.get(page) for probe in probes for page in ("livez", "readyz")]
    errors = [*await failures_of(known), *await failures_of(stranger)]
    assert any(isinstance(error, state.error) for error in errors), errors
    await state.end(rig)
    await rig.all_ended(jobs)
    for probe in probes:
        await probe.until(200, "ok")
    for app in (known, stranger):
        await app._core.close()
    await rig.stop(*workers)
    assert all("?password=***" in worker.text for worker in workers), "they do say which server they mean"
    quiet(*(worker.text for worker in workers), *pages, *errors)


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
        os.kill(pid, signal.SIGKILL)
        await worker.line("reclaimed")
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
