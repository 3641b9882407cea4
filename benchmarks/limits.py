"""The machine's own limits, taken in the run that they stand beside."""

from __future__ import annotations

import asyncio
import csv
import shutil
import subprocess
import time
from urllib.parse import urlparse

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

PINGS = 1_000
PIPELINE = 100


def ping_s(url: str, pings: int = PINGS) -> float:
    """redis-py on asyncio, one connection, one PING after the other: how many a second."""

    async def measure() -> float:
        async with AsyncRedis.from_url(url) as redis:
            await redis.ping()
            started = time.perf_counter()
            for _ in range(pings):
                await redis.ping()
            return pings / (time.perf_counter() - started)

    return asyncio.run(measure())


def blocking_ping_s(url: str, pings: int = PINGS) -> float:
    """The same with redis-py's blocking client."""
    with Redis.from_url(url) as redis:
        redis.ping()
        started = time.perf_counter()
        for _ in range(pings):
            redis.ping()
        return pings / (time.perf_counter() - started)


def pipelined_set_s(url: str, rounds: int = 200) -> float:
    """redis-py on asyncio, SETs in pipelines of 100: how many a second."""

    async def measure() -> float:
        async with AsyncRedis.from_url(url) as redis:
            started = time.perf_counter()
            for _ in range(rounds):
                async with redis.pipeline(transaction=False) as pipe:
                    for number in range(PIPELINE):
                        pipe.set(f"limit:{number}", b"x" * 100)
                    await pipe.execute()
            return rounds * PIPELINE / (time.perf_counter() - started)

    return asyncio.run(measure())


def redis_benchmark(url: str) -> dict[str, float]:
    """redis-benchmark: PING and SET, 50 connections, without and with pipelines of 16. Empty where there is none."""
    binary = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if binary is None:
        return {}
    found: dict[str, float] = {}
    for pipeline, requests in (("1", "30000"), ("16", "200000")):
        command = [
            binary,
            "-p",
            str(urlparse(url).port),
            "-n",
            requests,
            "-P",
            pipeline,
            "-t",
            "ping_mbulk,set",
            "--csv",
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
        for row in csv.reader(done.stdout.splitlines()):
            if len(row) > 1 and row[0] in {"PING_MBULK", "SET"}:
                found[f"redis-benchmark {row[0].removesuffix('_MBULK')}, pipelines of {pipeline}"] = float(row[1])
    return found


def limits(url: str) -> dict[str, float]:
    """All of them; each a second."""
    return {
        "redis-py on asyncio, PING": ping_s(url),
        "redis-py blocking, PING": blocking_ping_s(url),
        "redis-py on asyncio, SET in pipelines of 100": pipelined_set_s(url),
        **redis_benchmark(url),
    }
