"""The shop in working order: a server, a worker, ten thousand jobs, the dashboard, and a browser that looks at it.

All of it is there once in a process of tests. They share a browser and its event loop, and each has windows of its own,
which know of no other's cookies.
AIOTQ_PICTURES=docs/pictures has the test of the pictures write them there.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests import servers
from tests.browser import shop
from tests.process.ledger import until
from tests.processes import PATH, ROOT, die_with_parent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

CHROMIUM = "/usr/bin/chromium"
FIRST_WITHIN_S = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser there is nothing to look with."""
    if not Path(CHROMIUM).exists():
        skipped = pytest.mark.skip(reason=f"no chromium at {CHROMIUM} (Debian: apt-get install chromium)")
        for item in items:
            if Path(__file__).parent in Path(item.path).parents:
                item.add_marker(skipped)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What was started."""

    url: str  # of the server
    address: str  # of the dashboard, without a slash at its end
    running: tuple[str, ...]  # ids of jobs that run
    folder: Path


@pytest.fixture(scope="session")
def shop_system() -> Iterator[Shop]:
    """All of it, for the whole run."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="aiotq-shop-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port = free_port()
        stack.enter_context(servers.running("valkey", folder, *servers.KEEPS, "--port", str(port)))
        url = f"redis://localhost:{port}"
        env = {"AIOTQ_URL": url, "SHOP_OVER": str(folder / "over"), "AIOTQ_LOG_FORMAT": "json"}
        queues = "default,payments,feeds,reports,newsletter,imports,typos,reminders"
        started(
            stack, env, "tests.browser.shop:app", "--queues", queues, "--name", "worker-1", "--concurrency", "50",
            until=b'"ready"',
        )  # fmt: skip
        stack.callback((folder / "over").touch)  # before the worker is told to stop: it waits for what runs
        running = asyncio.run(_filled(url))
        address = stack.enter_context(dashboard(url))
        yield Shop(url=url, address=address, running=running, folder=folder)


@contextmanager
def dashboard(url: str, *options: str) -> Iterator[str]:
    """`aiotq dashboard` on a free port; its address, without a slash at its end."""
    with ExitStack() as stack:
        words = ("dashboard", "--app", "tests.browser.shop:app", "--port", "0", "--url", url, *options)
        said = started(stack, {"NO_COLOR": "1"}, *words, until=b"Ctrl-C stops")
        found = re.search(r"dashboard +(http://\S+)/", said)
        assert found is not None
        yield found[1]


def started(stack: ExitStack, env: dict[str, str], *words: str, until: bytes) -> str:
    """A process of aiotq's, ended with the stack; what it said until it said that."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aiotq", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PATH, **env},
        preexec_fn=die_with_parent,  # noqa: PLW1509  all that it calls is one system call
    )
    said, reached = bytearray(), threading.Event()

    def read() -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                if not reached.is_set():
                    said.extend(line)
                if until in line:
                    reached.set()
        reached.set()

    def end() -> None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()

    reader = threading.Thread(target=read, name="said", daemon=True)
    reader.start()
    stack.callback(end)
    assert reached.wait(FIRST_WITHIN_S), said.decode()
    assert until in said, said.decode()
    return said.decode()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _filled(url: str) -> tuple[str, ...]:
    shop.app._core.override = url
    async with shop.app, shop.unknown_app(url) as other:
        running = await shop.fill()
        await other.enqueue_many([next(iter(other.tasks.values())).s("s-1")])

        async def calm() -> bool:
            queues = {queue.name: queue for queue in await shop.app.inspect.queues()}
            left = sum(queue.waiting + queue.running for name, queue in queues.items() if name != "newsletter")
            return left == len(running)

        await until(calm, "all that can run has run", within_s=FIRST_WITHIN_S)
    return tuple(running)


# --- the browser --------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Visit:
    """A browser's window, and what went wrong in it."""

    page: Any
    address: str
    said: list[str] = field(default_factory=list[str])  # errors of the console, of scripts, and dialogs that opened
    asked: list[str] = field(default_factory=list[str])  # addresses of all requests

    async def go(self, path: str) -> None:
        """Load a page, until its first events have come."""
        await self.page.goto(self.address + path)

    def expect_calm(self) -> None:
        """Nothing went wrong, and nothing left this host."""
        assert not self.said
        assert not [address for address in self.asked if not address.startswith((self.address, "data:"))]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    """The browser: to start one takes longer than most tests with it."""
    from playwright.async_api import async_playwright

    async with async_playwright() as player:
        launched = await player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="session")
async def _tasks_end() -> AsyncIterator[None]:
    """As for all tests, on the loop of these."""
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task() and not task.done()]
    assert not left, f"asyncio tasks left running: {left}"


@pytest_asyncio.fixture(loop_scope="session")
async def open_window(shop_system: Shop, browser: Any) -> AsyncIterator[Callable[..., Any]]:
    """Opens windows: `await open_window(width=390, dark=True)`."""
    async with AsyncExitStack() as stack:

        async def opened(
            *, width: int = 1280, height: int = 900, dark: bool = False, at: str | None = None, **more: Any
        ) -> Visit:
            scheme = "dark" if dark else "light"
            size = {"width": width, "height": height}
            page = await browser.new_page(viewport=size, color_scheme=scheme, **more)
            stack.push_async_callback(page.close)
            visit = Visit(page=page, address=at or shop_system.address)
            page.on("console", lambda message: visit.said.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: visit.said.append(str(error)))
            page.on("request", lambda request: visit.asked.append(request.url))
            page.on("dialog", lambda dialog: visit.said.append(f"dialog: {dialog.message}"))
            return visit

        yield opened
