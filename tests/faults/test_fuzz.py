"""Ten thousand mutations of what lies in Redis, beside a live worker: none stops it, none is obeyed, none is forgotten.

AIOTQ_FUZZ_SEED: another seed than the day's; it is printed. AIOTQ_FUZZ: how many mutations.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
import tracemalloc  # noqa: F401  pytest loads it, and pickle with it, to tell where an object was made
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App
from tests.worker.conftest import events, keys
from tests.worker.kit import Keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aiotq import Job
    from tests.worker.kit import Events

__all__ = ["events", "keys"]  # fixtures

MUTATIONS = int(os.environ.get("AIOTQ_FUZZ", "10000"))
SEED = int(os.environ.get("AIOTQ_FUZZ_SEED", "37"))
BATCH = 250
WITHIN_S = 60  # a batch takes half a second; a machine that is busy may take a hundred times as long
STAMP = b"1700000000000"  # long ago: what no worker knows or reads is a dead letter at once, with unknown_for=0
TICKET = re.compile(rb"([\w.-]+):([\da-js]):([\w!-][\w-]{3}):([\w.:-]+)", re.ASCII)  # as lib.lua has it
HEADER = re.compile(rb"[0-9][wsfc][\s\S]{4}[0-9]{13}")  # as exchange.lua has it
LONGEST_TICKET = 200
SCORES = ("inf", "-inf", "1e300", "-1e300", "0.5", "-1", "9007199254740993", "253402300800001", "0")
VALUES: tuple[bytes, ...] = (
    *(b"", b"\x00", b"\xff\xfe", b"inf", b"-inf", b"nan", b"1e300", b"-1", b"0.5", b"99999999999999999999999", b"0x10"),
    *(b"x" * 5_000, b"x inf", b"x 99999999999999999999", b"w 1", b"\r\n", b"os.system", b"{}", b"[]", b"null"),
)
WORDS = (b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"-1", b"1e999", b"NaN", b"\\ud800", b"\x00", b'"t"')
DOCUMENTS = (
    b'{"t":"echo","a":["x"]}',
    b'{"t":"echo","k":{"value":"x"},"r":0,"o":90000,"y":90000}',
    b'{"t":"echo","a":[[1,2,{"a":null}]],"d":5,"u":1,"n":1,"h":[[1,1,2,"w","ValueError","no"]],"e":["ValueError","no",[]]}',
    b'{"t":"echo","a":["x"],"x":99999999999999,"w":[1,1],"l":1,"p":5,"q":"default"}',
)
TASKS = (b"os.system", b"builtins:eval", b"__import__", b"echo.__globals__", b"echo\\u0000", b"x" * 3_000)


async def comes_true(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what no event tells of."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            if await check():
                return
            await asyncio.sleep(0.005)  # a look at the server


class Fuzz:
    """One run: what was planted, and what must have become of it."""

    def __init__(self, keys: Keys, rng: random.Random, canary: Path) -> None:
        self.keys, self.rng = keys, rng
        self.bomb = b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR."  # a pickle
        self.made = 0
        self.records: dict[bytes, bytes] = {}  # by id, in this batch
        self.tickets: list[tuple[str, bytes]] = []  # the key, and the bytes put there
        self.came_to: Counter[str] = Counter()

    # --- mutations --------------------------------------------------------------------------------------------

    def mutated(self, data: bytes) -> bytes:
        rng = self.rng
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            at, to = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
            change = rng.randrange(8)
            if change == 0 and data:
                at = min(at, len(data) - 1)
                data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            elif change == 1:
                data = data[:at]
            elif change == 2:
                data = data[: min(at, to)] + data[max(at, to) :]
            elif change == 3:
                data = data[:at] + data[min(at, to) : max(at, to)] * rng.choice((1, 2, 50)) + data[at:]
            elif change == 4:
                data = data[:at] + rng.randbytes(rng.randrange(1, 20)) + data[at:]
            elif change == 5:
                data = data[:at] + rng.choice(WORDS) + data[at:]
            elif change == 6:
                data = data[:at] + rng.choice(VALUES) + data[max(at, to) :]
            else:
                data = data[:at] + self.bomb + data[to:]
        return data

    def record(self) -> bytes:
        rng = self.rng
        document = rng.choice(DOCUMENTS)
        if rng.random() < 0.1:
            document = document.replace(b'"echo"', b'"' + rng.choice(TASKS) + b'"')
        version = rng.choice((b"1",) * 15 + (b"0", b"2", b"9", b"999"))
        whole = version + b"wAAAA" + STAMP + document
        if rng.random() < 0.1:
            return whole
        head = 19 if rng.random() < 0.7 else 0  # mostly the document is what changes
        return whole[:head] + self.mutated(whole[head:])

    def id(self) -> bytes:
        rng = self.rng
        odd = (b"a\x00b", b"\r\n", b"x" * (1 << 20), b"\xff", b"a:b:c", b"../x", b"*", b"", b"x" * 129, b"{a}:b")
        return rng.choice(odd) if rng.random() < 0.02 else b"m%d" % self.made

    # --- planting ---------------------------------------------------------------------------------------------

    async def plant(self, worker_id: str, count: int) -> None:
        """So many mutations, in one go."""
        self.records, self.tickets = {}, []
        pipeline = self.keys.client.pipeline(transaction=True)  # a worker sees each record with its ticket
        for _ in range(count):
            self.made += 1
            kind = self.rng.choices((self._job, self._ticket, self._values, self._kind), (70, 20, 8, 2))[0]
            kind(pipeline, worker_id)
        self._call(pipeline, "rpush", "wake:default", b"1")
        self._call(pipeline, "rpush", "wake::poller", b"1")
        await pipeline.execute(raise_on_error=False)  # a command on a key that a mutation has spoiled

    def _call(self, pipeline: Any, command: str, key: str | bytes, *values: Any) -> None:
        name = key.encode() if isinstance(key, str) else key
        getattr(pipeline, command)(self.keys.prefix.encode() + name, *values)

    def _put(self, pipeline: Any, ticket: bytes) -> None:
        key = "schedule" if self.rng.random() < 0.2 else "line:default:5"
        self.tickets.append((key, ticket))
        if key == "schedule":
            self._call(pipeline, "zadd", key, {ticket: self.rng.choice(SCORES)})
            return
        self._call(pipeline, "rpush", key, ticket)
        self._call(pipeline, "zadd", "lines:default", {b"5": 5})

    def _job(self, pipeline: Any, _: str) -> None:
        """A mutated record under a right ticket."""
        job_id, record = self.id(), self.record()
        generation = b"!AAA" if len(record) > 16 << 10 else b"AAAA"
        if record[2:6] == b"AAAA":
            record = record[:2] + generation + record[6:]
        self.records[job_id] = record
        self._call(pipeline, "set", b"job:" + job_id, record)
        self._put(pipeline, b"default:5:" + generation + b":" + job_id)

    def _ticket(self, pipeline: Any, worker_id: str) -> None:
        """A right record under a mutated ticket, perhaps in a worker's hands."""
        job_id = b"t%d" % self.made
        self.records[job_id] = b"1wAAAA" + STAMP + DOCUMENTS[0]
        self._call(pipeline, "set", f"job:{job_id.decode()}", self.records[job_id])
        ticket = self.mutated(b"default:5:AAAA:" + job_id)
        if self.rng.random() < 0.1:
            self.tickets.append((f"active:{worker_id}", ticket))
            self._call(pipeline, "sadd", f"active:{worker_id}", ticket)
        else:
            self._put(pipeline, ticket)

    def _values(self, pipeline: Any, worker_id: str) -> None:
        """Garbage where a value, a member or a message is expected."""
        rng = self.rng
        value, other, score = rng.choice((*VALUES, self.bomb)), rng.choice(VALUES), rng.choice(SCORES)
        changes: list[tuple[Any, ...]] = [
            ("zadd", "workers", {b"x" + value: score}),
            ("zadd", "workers", {worker_id.encode(): rng.choice(("inf", "1e300", "0.5", "1"))}),
            ("zadd", "lines:default", {rng.choice((value, b"3", b"s", b"55")): score}),
            ("zadd", "dead", {value: score}),
            ("hset", "lost", f"m{self.made - 1}", value),
            ("hset", "lost", other, value),
            ("hset", "cancels", rng.choice((value, b"valid")), rng.choice((other, worker_id.encode()))),
            ("hset", f"worker:{worker_id}", rng.choice(("lease_ms", "label", "queues")), value),
            ("hset", "worker:gone", "lease_ms", value),
            ("set", "poller", value),
            ("set", "fence", value),
            ("set", "waits", value),
            ("sadd", "paused", value),
            ("sadd", "queues", value),
            ("rpush", "wake::poller", value),
            ("publish", f"control:{worker_id}", value),
            ("publish", f"done:m{self.made - 1}", value),
        ]
        self._call(pipeline, *rng.choice(changes))

    def _kind(self, pipeline: Any, worker_id: str) -> None:
        """A key of another type than it has ever been."""
        names = (
            "fence",
            "queues",
            "paused",
            "lost",
            "cancels",
            "wake:default",
            "wake::poller",
            "poller",
            "dead",
            "waits",
        )
        name = self.rng.choice((*names, "lines:other", "line:other:5", f"worker:{worker_id}", "lines:default"))
        self._call(pipeline, "delete", name)
        if name in {"fence", "poller", "waits"}:
            self._call(pipeline, "sadd", name, self.bomb)
        else:
            self._call(pipeline, "set", name, self.bomb)

    async def worker(self) -> str:
        """The id of the one worker."""
        members = await self.keys.client.zrange(f"{self.keys.prefix}workers", 0, -1)
        return next((member.decode() for member in members if re.fullmatch(rb"[0-9a-f]{12}", member)), "none")

    # --- accounting -------------------------------------------------------------------------------------------

    async def settled(self) -> bool:
        """Whether nothing waits for this worker and nothing is in anybody's hands."""
        client, prefix = self.keys.client, self.keys.prefix
        pipeline = client.pipeline(transaction=False)
        for place in "0123456789s":
            pipeline.llen(f"{prefix}line:default:{place}")
        pipeline.zcard(f"{prefix}schedule")
        left = await pipeline.execute(raise_on_error=False)
        return not any(left) and not await self.keys.active()

    async def account(self) -> None:
        """What has become of each mutation of this batch. Nothing may be nowhere."""
        client, prefix = self.keys.client, self.keys.prefix
        dead = set(await client.zrange(f"{prefix}dead", 0, -1))
        dead |= await self._aside("dead")
        now: dict[bytes, bytes | None] = {}
        for job_id in self.records:
            now[job_id] = await client.get(f"{prefix}job:".encode() + job_id)
        for job_id, planted in self.records.items():
            self.came_to[self._of_record(job_id, planted, now[job_id], dead)] += 1
        for key, ticket in self.tickets:
            self.came_to[await self._of_ticket(key, ticket, dead)] += 1

    async def _aside(self, name: str) -> set[bytes]:
        kind = await self.keys.client.type(f"{self.keys.prefix}aside:{name}")
        return (
            set(await self.keys.client.zrange(f"{self.keys.prefix}aside:{name}", 0, -1)) if kind == b"zset" else set()
        )

    def _of_record(self, job_id: bytes, planted: bytes, record: bytes | None, dead: set[bytes]) -> str:
        assert record is not None, f"{job_id[:40]!r} has gone; it was {planted[:200]!r}"
        if record != planted:
            state = record[1:2].decode()
            assert state in "sfc", f"{job_id[:40]!r} was {planted[:200]!r} and is {record[:200]!r}"
            return f"record: ended as {state}"
        found = HEADER.match(planted)
        stale = found is not None and planted[1:6] not in (b"wAAAA", b"w!AAA")
        ticket = b"default:5:AAAA:" + job_id
        odd_id = TICKET.fullmatch(ticket) is None or len(ticket) > LONGEST_TICKET
        mine = job_id.startswith(b"t")  # its ticket is what was mutated
        assert stale or odd_id or mine, f"{job_id[:40]!r}: nobody has looked at {planted[:200]!r}"
        return "record: left, as no ticket is of it"

    async def _of_ticket(self, key: str, ticket: bytes, dead: set[bytes]) -> str:
        found = TICKET.fullmatch(ticket) if len(ticket) <= LONGEST_TICKET else None
        if found is None:
            aside = f"!{key}!".encode() + ticket[:1024]
            elsewhere = b"!line:default:5!" + ticket[:1024]  # it was promoted before it was looked at
            assert {aside, elsewhere} & dead, f"{ticket[:300]!r} of {key} is nowhere"
            return "ticket: put aside"
        queue, _, generation, job_id = found.groups()
        record = await self.keys.client.get(f"{self.keys.prefix}job:".encode() + job_id)
        if record is None or record[1:6] != b"w" + generation:
            return "ticket: stale, or its job has ended"
        name = (
            f"{self.keys.prefix}line:".encode()
            + queue
            + b":"
            + found[2].translate(bytes.maketrans(b"abcdefghij", b"0123456789"))
        )
        assert queue != b"default", f"{ticket[:300]!r} of {key} is nowhere, and its job waits"
        assert ticket in await self.keys.client.lrange(name, 0, -1)
        return "ticket: in a queue that nobody serves"


@pytest.mark.timeout(600)
@pytest.mark.leaves_keys(reason="what others wrote to queues that nobody serves, and records without a ticket")
async def test_no_mutation_of_what_lies_in_redis_stops_a_worker_or_is_forgotten(
    app: App, keys: Keys, events: Events, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = tmp_path / "canary"
    fuzz = Fuzz(keys, random.Random(SEED), canary)
    own = App(app.source().url, namespace=app._core.settings.namespace, unknown_for=0, lease=2)

    @own.task(name="echo", retries=0)
    async def echo(value: Any = None) -> Any:
        return value

    modules = set(sys.modules)
    async with own, own.worker(["default"]) as worker:
        assert await (await echo.delay("warm")).result(timeout=WITHIN_S) == "warm"
        while fuzz.made < MUTATIONS:
            await fuzz.plant(await fuzz.worker(), BATCH)
            await comes_true(fuzz.settled)
            await fuzz.account()
            await _flows(own, echo)
        assert await (await echo.delay("last")).result(timeout=WITHIN_S) == "last"
        assert worker.tally["succeeded"] > 0

        async def alone() -> bool:
            return await keys.client.zcard(f"{keys.prefix}workers") == 1

        await comes_true(alone)
        ran = set(sys.modules) - modules
    with capsys.disabled():
        said = ", ".join(f"{number} {what}" for what, number in sorted(fuzz.came_to.items()))
        sys.stderr.write(f"\nfuzz: seed {SEED}, {fuzz.made} mutations: {said}\n")
    assert not canary.exists()
    assert not [name for name in ran if not name.startswith(("aiotq", "encodings", "tests"))]
    assert not events.of("mistake"), events.of("mistake")[0].getMessage()


async def _flows(app: App, echo: Any) -> None:
    """Others' jobs run, at once and on time, whatever lies beside them."""
    jobs: list[Job[Any]] = [await echo.delay(number) for number in range(10)]
    jobs += [await echo.options(countdown=0.01).delay(10)]
    assert [await job.result(timeout=WITHIN_S) for job in jobs] == list(range(11))
    handle = app.job(jobs[0].id)
    assert (await handle.info()).result == 0
