"""The shop whose jobs the browser looks at: ten thousand of them, in every state that there is."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from aiotq import App, Reject, RetryPolicy, current_job

if TYPE_CHECKING:
    from collections.abc import Sequence

app = App(namespace="shop")
EVIL = "<script>alert('job')</script><img src=x onerror=alert('job')>"
JOBS = 10_000


@app.task(name="shop.mails:send_sold_email")
async def send_sold_email(seller: str, item: str, price: int) -> str:
    """The most of them."""
    return f"mail to {seller}: your {item} was sold for {price}"


@app.task(name="shop.payments:charge", queue="payments", retries=0, sensitive={"card"})
async def charge(order: str, amount: int, card: str) -> None:
    """Fails, and is dead."""
    raise ValueError(f"order {order}: {amount} is more than the card allows")


@app.task(name="shop.feeds:fetch", queue="feeds", retries=5, retry=RetryPolicy(delays=[3600]))
async def fetch(url: str) -> None:
    """Fails, and is tried again much later."""
    raise ConnectionError(f"{url}: no route to host")


@app.task(name="shop.reports:yearly", queue="reports")
async def yearly(year: int) -> None:
    """Runs until its file is there."""
    job: Any = current_job()
    for month in range(1, 8):
        job.log(f"month {month} of {year} is done")
    job.log("a sale without a buyer was left out", level="warning")
    await job.progress(7, of=12, note="adding up July")
    while not await asyncio.to_thread(os.path.exists, os.environ["SHOP_OVER"]):  # noqa: ASYNC110  another process says
        await asyncio.sleep(0.05)  # a file tells nobody that it is there


@app.task(name="shop.newsletter:send", queue="newsletter")
async def newsletter(number: int) -> None:
    """Waits: its queue is paused."""


@app.task(name="shop.reminders:remind", queue="reminders")
async def remind(buyer: str) -> None:
    """Is due tomorrow."""


@app.task(name="shop.imports:strange", queue="imports", retries=0)
async def strange(text: str) -> str:
    """Says what no page may take for a tag."""
    kind = type(EVIL, (Exception,), {})
    job: Any = current_job()
    job.log(EVIL)
    await job.progress(1, of=2, note=EVIL)
    raise kind(text)


@app.task(name="shop.imports:rejected", queue="imports")
async def rejected() -> None:
    """Gives up at once."""
    raise Reject("the file has no sales in it")


def unknown_app(url: str) -> App:
    """A service that was deployed with a task of another name."""
    other = App(url, namespace="shop")

    @other.task(name="shop.mails:send_sold_emial", queue="typos")
    async def mistyped(seller: str) -> None:
        """No worker knows it."""

    assert mistyped.name
    return other


async def fill() -> Sequence[str]:
    """Enqueue all of them. Returns the ids of those that run until they are told to end."""
    evil = 0 if os.environ.get("AIOTQ_PICTURES") else 20  # what is on pictures is calm
    await app.inspect.pause("newsletter")
    running = await app.enqueue_many([yearly.s(year) for year in (2024, 2025)])
    await app.enqueue_many([strange.s(EVIL)] * evil)
    await app.enqueue_many([rejected.s()] * 10)
    await app.enqueue_many([charge.s(f"o-{number}", 40 * number, "4111 1111 1111 1111") for number in range(120)])
    await app.enqueue_many([fetch.s(f"https://feed-{number}.example/sales") for number in range(60)])
    await app.enqueue_many([newsletter.options(priority=number % 3 + 4).s(number) for number in range(1_200)])
    later = [remind.options(countdown=3_600 * 24 + number).s(f"b-{number}") for number in range(300)]
    reminders = await app.enqueue_many(later)
    for job in reminders[:40]:
        await job.cancel()
    many = JOBS - 2 - evil - 10 - 120 - 60 - 1_200 - 300 - 1
    await app.enqueue_many([send_sold_email.s(f"s-{number % 97}", "lamp", number) for number in range(many)])
    large = await send_sold_email.delay("s-1", "lamp " * 100_000, 1)
    await large.result(timeout=60)
    return [job.id for job in running]
