"""`make demo`: a thousand sales become mails, through a real store, a real mail server and two real workers."""

import asyncio
import os
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from aiotq import Job
from aiotq.errors import AiotqError, JobFailed
from examples.shop import website
from examples.shop.mails import Account, arrived
from examples.shop.processes import EndedEarly, first_line, log_lines, python
from examples.shop.progress import Progress
from examples.shop.sales import read_sales
from examples.shop.tasks import Digest, app

WORKERS = 2
CLOSES_IN_S = 4  # then the nightly digest is due
GIVE_UP_AFTER_S = 90
NEXT = """What next
  1  Read examples/shop/tasks.py and website.py: all that the shop needs to know of aiotq.
  2  Put @app.task on a function of your own: README.md shows the first minute.
  3  Follow one job through the code: ARCHITECTURE.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evening:
    """What there is to tell when the shop has closed."""

    account: Account
    retried: int
    digest: Digest
    digest_mails: int
    took_s: float


async def main() -> int:
    """Run the demo. Returns its exit code: 0 if every sale is accounted for."""
    console = Console(highlight=False)
    try:
        with TemporaryDirectory(prefix="aiotq-shop-") as folder:
            async with asyncio.timeout(GIVE_UP_AFTER_S), shop(Path(folder)) as workers:
                console.print(
                    f"A store, a mail server and {WORKERS} workers are up, each a process of its own. Selling:"
                )
                evening = await sell(workers, Path(folder, "mails"), console)
    except EndedEarly as error:
        console.print(
            f"[red]error:[/] a process of the demo ended early. It said:\n{escape(str(error))}", soft_wrap=True
        )
        return 1
    except AiotqError as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    except TimeoutError:
        console.print(
            f"[red]error:[/] not done after {GIVE_UP_AFTER_S} s, where 10 are usual. Is the machine very busy?"
        )
        return 1
    return report(evening, console)


@asynccontextmanager
async def shop(folder: Path) -> AsyncGenerator[list[Process]]:
    """A mail server, a store and the workers, in that folder. All of them have ended when the block has."""
    os.environ["AIOTQ_URL"] = f"embedded://{folder / 'store'}"  # starts with the first who needs it
    async with AsyncExitStack() as stack:
        smtp = await stack.enter_async_context(python("examples.shop.smtp", str(folder / "mails")))
        os.environ["SHOP_SMTP"] = f"127.0.0.1:{await first_line(smtp)}"
        stack.push_async_callback(stop_store)
        worker = ("aiotq", "examples.shop.tasks:app", "--log-format", "json", "--grace", "5")
        yield [await stack.enter_async_context(python(*worker)) for _ in range(WORKERS)]


async def stop_store() -> None:
    """Stop the embedded server now; by itself it would end some seconds after its last client."""
    async with python("aiotq", "server", "stop") as stopping:
        await stopping.communicate()


async def sell(workers: list[Process], maildir: Path, console: Console) -> Evening:
    """Enqueue all jobs, watch them being done, and see what came of them."""
    began_s = time.monotonic()
    rows = read_sales()
    when = Counter(row.notify for row in rows)
    console.print(
        f"{when['soon']} mails in their order, {when['first']} before all others (priority 0), "
        f"{when['live']} newest first (lifo), {when['later']} in {website.LATER_S} s (countdown)\n",
        soft_wrap=True,
    )
    async with app:
        jobs = await website.sold(rows)
        digest = await website.closing(rows[0].sale.sold_at.date(), datetime.now(UTC) + timedelta(seconds=CLOSES_IN_S))
        progress = Progress(total=len(jobs))
        failed = await watch(jobs, workers, progress, console)
        figures = await digest.result(timeout=10)
    mails, digest_mails = arrived(maildir)
    sales = [row.sale.id for row in rows]
    return Evening(
        account=Account(
            sales=frozenset(sales),
            arrived=mails,
            failed=frozenset(sale for sale, job in zip(sales, jobs, strict=True) if job.id in failed),
        ),
        retried=progress.logged["retried"],
        digest=figures,
        digest_mails=digest_mails,
        took_s=time.monotonic() - began_s,
    )


async def watch(jobs: list[Job[str]], workers: list[Process], progress: Progress, console: Console) -> set[str]:
    """Show how far it is until all is done. Returns the ids of the jobs that failed."""
    failed: set[str] = set()

    async def follow(worker: Process) -> None:
        async for line in log_lines(worker):
            progress.count(line)

    async def settle(job: Job[str]) -> None:
        try:
            await job.result()  # pushed as soon as the job has ended: nobody asks again and again
            progress.succeeded += 1
        except JobFailed:
            progress.failed += 1
            failed.add(job.id)

    early: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            followers = [group.create_task(follow(worker)) for worker in workers]
            for job in jobs:
                group.create_task(settle(job))
            await (live if console.is_terminal else plain)(progress, console)
            for follower in followers:
                follower.cancel()
    except* EndedEarly as several:
        early = several.exceptions[0]
    if early is not None:  # raised in there, it would come out in a group of its own
        raise early
    return failed


async def live(progress: Progress, console: Console) -> None:
    """On a terminal: figures that change."""
    with Live(progress, console=console, auto_refresh=False) as shown:
        while progress.ended < progress.total:
            await asyncio.sleep(0.1)
            shown.refresh()


async def plain(progress: Progress, console: Console) -> None:
    """Elsewhere: a line a second."""
    while progress.ended < progress.total:
        for _ in range(10):
            if progress.ended < progress.total:
                await asyncio.sleep(0.1)
        console.print(progress.line(), soft_wrap=True)


def report(evening: Evening, console: Console) -> int:
    """Say whether it adds up. Returns the exit code."""
    account, digest = evening.account, evening.digest
    mistakes = account.mistakes()
    if evening.digest_mails != 1:
        mistakes.append(f"{evening.digest_mails} digests mailed, 1 expected")
    figures = f"{digest.turnover:,} € turned over; sold best: {digest.best_item}"
    console.print(
        f"\n[bold]{len(account.sales):>7,}  sales, done in {evening.took_s:.1f} s[/]"
        f"\n{account.delivered:>7,}  mails in the maildir; {evening.retried} of them were refused at first (451)"
        f"\n{len(account.failed):>7,}  mails refused for good (550): dead letters, for a person to look at"
        f"\n{evening.digest_mails:>7,}  nightly digest: {figures}\n",
        soft_wrap=True,
    )
    if mistakes:
        console.print("[red]error:[/] it does not add up: " + "; ".join(mistakes), soft_wrap=True)
        return 1
    total = f"{account.delivered:,} + {len(account.failed)} = {len(account.sales):,}"
    console.print(f"[green]It adds up:[/] {total}, each mailed once or refused.\n\n{NEXT}", soft_wrap=True)
    return 0
