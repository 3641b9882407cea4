"""What every test may ask for: real servers, a store on each of them, an app, a clock, worker processes.

store       an opened store, run once for each kind of server: "valkey", "redis", "memory", "acl" (servers.py)
raw         a redis client on the same server, to look at keys
namespace   a fresh one; `prefix` is what its keys begin with
url         the server's URL
app         an `App` on a fresh namespace of the real Valkey
clock       a `VirtualClock`
spawn_worker   starts `python -m aiotq` processes; they are killed at the end
valkey      the session's Valkey server; `server_folder`: an empty folder for a server of the test's own

To run a test on one kind only: `@pytest.mark.parametrize("server", ["valkey"], indirect=True)`.
After each test nothing may be left: no key without an end, no asyncio task, no thread of aiotq, no process.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from tests import leaks, processes, servers
from tests.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from aiotq import App
    from aiotq.store.contract import Store

KINDS: tuple[servers.Kind, ...] = get_args(servers.Kind)
CONNECT_TIMEOUT_S = 5.0
# How long an example takes to be drawn and tried tells what else runs on the machine; what has to be quick has tests
# and benchmarks that measure it. Two runs of one commit try the same examples in CI; elsewhere each run tries others.
settings.register_profile("aiotq", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("aiotq"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "aiotq")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where a server has been named, leave out what would run on others."""
    if servers.NAMED in os.environ:
        config.hook.pytest_deselected(items=[item for item in items if _on_another(item)])
        items[:] = [item for item in items if not _on_another(item)]


def _on_another(item: Any) -> bool:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return any(value in ("redis", "memory") for value in params.values())


def pytest_report_header() -> str:
    """Name the servers of this run."""
    return f"servers: {'; '.join(servers.describe(kind) for kind in KINDS)}"


# --- servers ------------------------------------------------------------------------------------------------------


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """An empty folder whose path is short enough for a unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="aiotq-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _started() -> Iterator[dict[str, servers.Server]]:
    """The servers of this test process: each is started when first asked for, and ended with the run."""
    with ExitStack() as stack:
        yield _Started(stack)


class _Started(dict[str, servers.Server]):
    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, kind: servers.Kind) -> servers.Server:
        folder = Path(tempfile.mkdtemp(prefix=f"aiotq-{kind}-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = self[kind] = self._stack.enter_context(servers.running(kind, folder, *servers.KEEPS))
        if server.pid is not None:
            processes.lasting.add(server.pid)
        return server


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, _started: dict[str, servers.Server]) -> servers.Server:
    """A running server, of each kind in turn."""
    if request.param == "redis" and servers.find("redis") is None:
        pytest.skip("no redis-server on PATH")
    return _started[request.param]


@pytest.fixture
def valkey(_started: dict[str, servers.Server]) -> servers.Server:
    """The Valkey server of this run."""
    return _started["valkey"]


# --- the store ----------------------------------------------------------------------------------------------------


@pytest.fixture
def url(server: servers.Server) -> str:
    """Where the store of this test is."""
    return server.url


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test has."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def prefix(namespace: str) -> str:
    """What every key of the namespace begins with."""
    return f"{{{namespace}}}:"


@pytest_asyncio.fixture
async def raw(server: servers.Server) -> AsyncIterator[Any]:
    """A plain redis client on the store's server, as a user who may do everything; it decodes nothing."""
    async for client in _raw_client(server.admin):
        yield client


@pytest_asyncio.fixture
async def store(
    request: pytest.FixtureRequest, url: str, namespace: str, prefix: str, raw: Any
) -> AsyncIterator[Store]:
    """An opened store on a fresh namespace."""
    from aiotq.store import connect

    opened = connect(url, namespace=namespace, connect_timeout_s=CONNECT_TIMEOUT_S)
    await opened.open()
    yield opened
    await opened.close()
    await _check_keys(request, raw, prefix)


@pytest_asyncio.fixture
async def app(
    request: pytest.FixtureRequest, valkey: servers.Server, namespace: str, prefix: str
) -> AsyncIterator[App]:
    """An opened app on a fresh namespace of the real Valkey."""
    from aiotq import App

    async with App(valkey.url, namespace=namespace, connect_timeout=CONNECT_TIMEOUT_S) as opened:
        yield opened
    async for client in _raw_client(valkey.url):
        await _check_keys(request, client, prefix)


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that moves only when the test moves it."""
    return VirtualClock()


async def _raw_client(url: str) -> AsyncIterator[Any]:
    if url.startswith("memory://"):
        from fakeredis import FakeAsyncRedis, FakeServer

        from aiotq.store.connection import dial

        client: Any = FakeAsyncRedis(server=dial._MEMORY.setdefault(url, FakeServer(version=(7,))), version=(7,))
    else:
        from redis.asyncio import Redis

        client = Redis.from_url(url)
    yield client
    await client.aclose()


# --- worker processes ---------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def spawn_worker(valkey: servers.Server, namespace: str) -> AsyncIterator[processes.Spawn]:
    """Start worker processes where `app` is: the real Valkey, the test's namespace. They are killed at the end."""
    started: list[processes.WorkerProcess] = []

    async def spawn(
        target: str, *options: str, env: Mapping[str, str] | None = None, ready: bool = True
    ) -> processes.WorkerProcess:
        settings = {"AIOTQ_URL": valkey.url, "AIOTQ_NAMESPACE": namespace, **(env or {})}
        worker = await processes.spawn(target, *options, env=settings)
        started.append(worker)
        if ready:
            await worker.line("ready")
        return worker

    yield spawn
    for worker in started:
        await worker.kill()


# --- nothing is left ----------------------------------------------------------------------------------------------


async def _check_keys(request: pytest.FixtureRequest, raw: Any, prefix: str) -> None:
    if request.node.get_closest_marker("leaves_keys") is None:
        left = await leaks.leaked_keys(raw, prefix)
        assert not left, "keys that nothing would ever remove:\n" + "\n".join(left)


@pytest_asyncio.fixture
async def _tasks_end() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task() and not task.done()]
    assert not left, f"asyncio tasks left running: {left}"


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: no asyncio task, no thread of aiotq and no child process that was not there before."""
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("_tasks_end")
    before = processes.children()
    yield
    left = [processes.command_line(pid) for pid in processes.children() - before - processes.lasting]
    assert not left, f"processes left running: {left}"
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("aiotq")]
    assert not threads, f"threads left running: {threads}"
