"""Each figure: what is done, and what is counted. All take a `Bench` and return one number."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from benchmarks.bench import Bench

Figure = Callable[[Bench], Awaitable[float]]

CALLERS = 100


async def drain(bench: Bench) -> float:
    """No-op jobs a second through one default worker process: from the first start to the last."""
    from benchmarks.tasks import app, noop  # noqa: PLC0415  needs the run's environment

    jobs = bench.jobs
    await app.enqueue_many([noop.s() for _ in range(jobs)])
    async with bench.worker():
        await bench.until(jobs)
    return (jobs - 1) / bench.notes.span_s


async def enqueue_one(bench: Bench) -> float:
    """`await delay()` a second, by one caller, one after the other."""
    from benchmarks.tasks import small  # noqa: PLC0415

    count = bench.jobs // 10
    started = time.perf_counter()
    for number in range(count):
        await small.delay(number)
    return count / (time.perf_counter() - started)


async def enqueue_callers(bench: Bench) -> float:
    """`await delay()` a second, by 100 concurrent callers."""
    from benchmarks.tasks import small  # noqa: PLC0415

    each = bench.jobs // CALLERS

    async def caller() -> None:
        for number in range(each):
            await small.delay(number)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return each * CALLERS / (time.perf_counter() - started)


async def enqueue_bulk(bench: Bench) -> float:
    """Jobs a second by `enqueue_many`, the signatures made on the way."""
    from benchmarks.tasks import app, small  # noqa: PLC0415

    started = time.perf_counter()
    await app.enqueue_many(small.s(number) for number in range(bench.jobs))
    return bench.jobs / (time.perf_counter() - started)


async def start_latency_ms(bench: Bench) -> float:
    """From the call of `delay()` to the start of the job in an idle worker: median, ms."""
    from benchmarks.tasks import mark  # noqa: PLC0415

    found: list[float] = []
    async with bench.worker():
        for slot in range(bench.few):
            await asyncio.sleep(0.02)
            called = time.monotonic_ns()
            await mark.options(job_id=f"latency-{slot}").delay(slot)
            await bench.until(slot + 1)
            found.append((bench.notes.start_ns(slot) - called) / 1e6)
    return statistics.median(found)


async def lateness_ms(bench: Bench) -> float:
    """How much later than asked for a delayed job starts, the worker idle otherwise: median, ms."""
    from benchmarks.tasks import mark  # noqa: PLC0415

    found: list[float] = []
    async with bench.worker():
        for slot in range(bench.few // 2):
            called = time.monotonic_ns()
            await mark.options(countdown=0.2).delay(slot)
            answered = time.monotonic_ns()
            await bench.until(slot + 1)
            # Redis's clock starts the countdown between the call and its answer.
            found.append((bench.notes.start_ns(slot) - (called + answered) / 2) / 1e6 - 200)
    return statistics.median(found)


async def queued_bytes(bench: Bench) -> float:
    """Bytes of Redis's memory that a queued job takes: a small argument, a task name of 21 characters."""
    from benchmarks.tasks import app, small  # noqa: PLC0415

    before = await bench.memory()
    await app.enqueue_many(small.s(number) for number in range(bench.jobs))
    return (await bench.memory() - before) / bench.jobs


async def commands_a_job(bench: Bench) -> float:
    """Redis commands for a job's whole life, those inside scripts counted: `delay()` by 100 callers, then a drain."""
    before = await bench.commands()
    await enqueue_callers(bench)
    async with bench.worker():
        await bench.until(bench.jobs // CALLERS * CALLERS)
    return (await bench.commands() - before) / (bench.jobs // CALLERS * CALLERS)


async def redis_cpu_us(bench: Bench) -> float:
    """Redis CPU microseconds for a job's whole life: `delay()` by 100 callers, then a drain."""
    before = await bench.cpu_s()
    await enqueue_callers(bench)
    async with bench.worker():
        await bench.until(bench.jobs // CALLERS * CALLERS)
    return (await bench.cpu_s() - before) / (bench.jobs // CALLERS * CALLERS) * 1e6


async def idle_commands_s(bench: Bench) -> float:
    """Commands a second that an idle worker sends (those inside scripts not counted)."""
    async with bench.worker():
        await asyncio.sleep(1)
        before = await bench.sent()
        await asyncio.sleep(bench.idle_s)
        return (await bench.sent() - before) / bench.idle_s


async def idle_commands_all_s(bench: Bench) -> float:
    """The same, those inside scripts counted."""
    async with bench.worker():
        await asyncio.sleep(1)
        before = await bench.commands()
        await asyncio.sleep(bench.idle_s)
        return (await bench.commands() - before) / bench.idle_s
