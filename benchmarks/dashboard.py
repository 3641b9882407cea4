"""What the dashboard takes: the time of each page, and of Redis's processor, with a million jobs queued.

    python -m benchmarks.dashboard [--jobs 1000000] [--viewers 10] [--seconds 30]

Starts a Redis of its own, a worker that has nothing to do in the full queues, and `aiotq dashboard`; prints two tables.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from redis.asyncio import Redis

from aiotq import App
from benchmarks.server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
LOADS = 21  # of each page; the first one counts too
BATCH = 10_000
NAMESPACE = "pages"
# As much is looked through for these as for any page.
FEW_MATCH = (
    "/jobs?task=shop.mails:nothing",
    "/jobs?status=scheduled&queue=sms",
    "/jobs?status=succeeded&task=nothing",
    "/jobs?since=1m",
    "/dead?error=KeyError",
    "/find?q=abcdef",
)

app = App(namespace=NAMESPACE)


@app.task(name="shop.mails:send_sold_email", queue="mail")
async def send(seller: str, item: str, price: int) -> None:
    """Waits: nobody serves its queue."""


@app.task(name="shop.payments:charge", retries=0)
async def charge(order: str) -> None:
    """Fails."""
    raise ValueError(f"order {order}: no money")


@app.task(name="shop.notes:note")
async def note(text: str) -> str:
    """Succeeds."""
    return text


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--viewers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30)
    given = parser.parse_args()
    with redis_server() as url, ExitStack() as stack:
        env = {"AIOTQ_URL": url, "AIOTQ_NAMESPACE": NAMESPACE}
        stack.enter_context(_process(env, "benchmarks.dashboard:app", "--queues", "default", until="ready"))
        asyncio.run(_fill(url, given.jobs))
        said = stack.enter_context(
            _process(env, "dashboard", "--app", "benchmarks.dashboard:app", "--port", "0", until="Ctrl-C stops")
        )
        found = re.search(r"http://\S+(?=/)", said)
        assert found is not None
        asyncio.run(_measure(url, found[0], given))


@contextmanager
def _process(env: dict[str, str], *words: str, until: str) -> Iterator[str]:
    command = [sys.executable, "-m", "aiotq", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **env})
    try:
        assert process.stderr is not None
        said = ""
        while until not in said:
            line = process.stderr.readline()
            assert line, f"it ended: {said}"
            said += line
        yield said
    finally:
        process.terminate()
        process.communicate()


async def _fill(url: str, jobs: int) -> None:
    app._core.override = url  # noqa: SLF001
    async with app:
        mixed = [charge.s(f"o-{number}") if number % 7 == 0 else note.s("x") for number in range(14_000)]
        ended = await app.enqueue_many(mixed)
        await app.enqueue_many([send.options(countdown=86_400 + number).s("s", "lamp", 1) for number in range(10_000)])
        for begun in range(0, jobs, BATCH):
            await app.enqueue_many([send.s(f"s-{begun + number}", "lamp", 40) for number in range(BATCH)])
        await ended[-1].result(timeout=120)


async def _measure(url: str, address: str, given: Any) -> None:
    async with httpx.AsyncClient(base_url=address, timeout=60) as client, Redis.from_url(url) as raw:
        links = re.findall(r'title="([0-9a-f]{32})"', (await client.get("/jobs?status=queued&limit=25")).text)
        dead = re.findall(r'title="([0-9a-f]{32})"', (await client.get("/dead?limit=25")).text)
        pages = ["/", "/queues", "/queues/mail", "/jobs", "/jobs?status=queued", "/jobs?status=succeeded&limit=100"]
        pages += ["/jobs?status=scheduled", f"/jobs/{links[0]}", f"/jobs/{dead[0]}", "/dead", "/failures", "/workers"]
        pages += ["/tasks", "/server", "/audit", *FEW_MATCH]
        print(f"\n| page | median, ms | worst of {LOADS}, ms |\n| --- | ---: | ---: |")
        for page in pages:
            took_ms = [await _load(client, page) for _ in range(LOADS)]
            name = re.sub(r"[0-9a-f]{32}", "ID", page)
            print(f"| `{name}` | {statistics.median(took_ms):.1f} | {max(took_ms):.1f} |")
        print("\n| viewers of the overview | Redis's processor, % | commands a second |\n| ---: | ---: | ---: |")
        for viewers in (0, 1, given.viewers):
            share, commands = await _looked_at(raw, address, viewers, given.seconds)
            print(f"| {viewers} | {share * 100:.2f} | {commands:.0f} |")


async def _load(client: httpx.AsyncClient, page: str) -> float:
    began = time.perf_counter()
    assert (await client.get(page)).status_code in {200, 404}  # what is looked for in vain
    return (time.perf_counter() - began) * 1000


async def _looked_at(raw: Any, address: str, viewers: int, seconds: float) -> tuple[float, float]:
    """The share of a core that Redis takes, and its commands a second."""

    async def view() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            while True:
                async with client.stream("GET", "/events?page=overview") as events:
                    async for _ in events.aiter_lines():
                        pass

    looking = [asyncio.create_task(view()) for _ in range(viewers)]
    try:
        await asyncio.sleep(3)
        before, began = await _used(raw), time.perf_counter()
        await asyncio.sleep(seconds)
        after, took = await _used(raw), time.perf_counter() - began
    finally:
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    return (after[0] - before[0]) / took, (after[1] - before[1]) / took


async def _used(raw: Any) -> tuple[float, int]:
    info = await raw.info()
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"]), int(info["total_commands_processed"])


if __name__ == "__main__":
    main()
