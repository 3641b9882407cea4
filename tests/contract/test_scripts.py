"""What every script has to be: constant text, with a header, bounded in time, and no younger than Redis 6.2."""

from __future__ import annotations

import ast
import re
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.store import scripts
from aiotq.store.contract import MAX_CLAIMED, MAX_ENQUEUE, MAX_FINISHED, MAX_PROMOTED, MAX_RECLAIMED, Reclaimed
from aiotq.store.tallies import MAX_COUNTERS, MAX_FAILURES, Failing, Tally
from tests.contract.kit import MONTH_MS, died, job, retried, returned, succeeded
from tests.meter import LIMIT_MS, Meter
from tools import acl

if TYPE_CHECKING:
    from aiotq.store.contract import Claimed
    from tests.contract.kit import Bench

STORE = Path(scripts.__file__).parent
FILES = sorted((STORE / "lua").glob("*.lua"))

# Of Redis 6.2, and known to Valkey 7.2 and fakeredis.
COMMANDS = {
    *("DEL", "EXISTS", "GET", "GETRANGE", "HDEL", "HGET", "HGETALL", "HINCRBY", "HLEN", "HMGET", "HSET", "INCR"),
    *("LLEN", "LPOP", "LPUSH", "MGET", "PEXPIRE", "PTTL", "PUBLISH", "RENAME", "RPUSH", "SADD", "SCARD", "SET"),
    *("SETRANGE", "SMEMBERS", "SMISMEMBER", "SPOP", "SREM", "STRLEN", "TIME", "ZADD", "ZRANGE", "ZRANGEBYSCORE"),
    *("LPOS", "LRANGE", "LREM", "LSET", "LTRIM", "ZREM", "ZREVRANGEBYSCORE", "ZSCORE"),
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_script_says_what_it_does_takes_and_returns(file: Path) -> None:
    lines = file.read_text("utf-8").splitlines()

    assert lines[0].startswith(f"-- {file.name}: "), "the first line: what it is for"
    head = "\n".join(line for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("--"))])
    for word in ("-- KEYS    ", "-- ARGV    ", "-- RETURNS "):
        assert word in head, f"{word.strip('- ')} is not described"


def test_each_file_is_a_verb_or_the_shared_part() -> None:
    assert {file.stem for file in FILES} == {script.name for script in scripts.ALL} | {"lib"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_only_commands_that_redis_6_2_has_are_called(file: Path) -> None:
    code = re.sub(r"--.*", "", file.read_text("utf-8"))

    assert acl.called(code) <= COMMANDS
    for younger in ("redis.REPL", "redis.set_repl", "redis.setresp", "redis.acl", "#!lua", "cjson", "struct.", "bit."):
        assert younger not in code


@pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)
def test_the_text_of_a_script_is_its_files_text_and_nothing_else(script: scripts.Script) -> None:
    text = (STORE / "lua" / "lib.lua").read_text("utf-8") + (STORE / "lua" / f"{script.name}.lua").read_text("utf-8")

    assert script.text == text
    assert script.sha == sha1(text.encode()).hexdigest()
    assert len(re.findall(r"KEYS\[", text)) == 1, "one key, the prefix, makes them legal on a cluster"


def test_no_formatted_string_becomes_a_script() -> None:
    """Values reach scripts by KEYS and ARGV: only Script.text and Script.sha are ever sent to be run."""
    evaluating = {"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "SCRIPT", "FUNCTION", "FCALL"}
    found: list[str] = []
    for file in sorted(STORE.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"eval", "evalsha", "register_script", "script_load"}, file.name
            values = node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.Tuple) else []
            words = [value.value for value in values if isinstance(value, ast.Constant)]
            if not evaluating & set(map(str, words)) or "EXISTS" in words:  # a look at which ones are known
                continue
            found.append(file.name)
            sent = [value for value in values if not isinstance(value, ast.Constant)]
            texts = [value for value in sent if isinstance(value, ast.JoinedStr | ast.BinOp | ast.Call)]
            assert not texts, f"{file.name} puts a script together"
            assert any(isinstance(value, ast.Attribute) and value.attr in {"sha", "text"} for value in sent)
    assert found, "the look found no command that runs a script: it is wrong itself"


# --- how long they take

TIMES = 5  # for the cheapest of them
JOBS = TIMES * (5 * MAX_CLAIMED + 2 * MAX_RECLAIMED) + 2_000


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_no_script_takes_longer_than_a_few_milliseconds_at_its_bound(bench: Bench) -> None:
    meter = Meter(bench.raw)
    cost: dict[str, float] = {}
    body = b"x" * 1_500
    batches = [range(start, start + MAX_ENQUEUE) for start in range(0, JOBS, MAX_ENQUEUE)]
    cost["enqueue"] = await meter.least(
        *[bench.enqueue(*[job(f"j{i}", body=body) for i in batch]) for batch in batches]
    )
    later = [[job(f"d{i}", f"q{i % 50}:5", delay_ms=5) for i in batch] for batch in batches]
    cost["enqueue, delayed"] = await meter.least(*[bench.enqueue(*jobs) for jobs in later])
    bench.clock.advance(ms=5)
    cost["promote"] = await meter.least(*[bench.promote(limit=MAX_PROMOTED) for _ in range(4)])
    await bench.worker()
    held: list[Claimed] = []

    async def exchange(kind: Any = None) -> None:  # as in a drain: a whole batch in, and a whole one out
        finished = [kind(held.pop()) for _ in range(MAX_FINISHED)] if kind else []
        held.extend((await bench.exchange(*finished, limit=MAX_CLAIMED)).claimed)

    names = [f"t:s:{'x' * 60}:{number}" for number in range(MAX_COUNTERS)]
    failing = [Failing(task=f"t{i}", error="E", count=1, job_id="j", message="m" * 200, dead=True) for i in range(250)]

    async def tell(number: int) -> None:  # a full minute has passed, and there is no room for all the failures
        bench.clock.advance(ms=60_000)
        await bench.raw.zadd(bench.key("workers"), {"w1": bench.clock.now_ms() + 15_000})
        full = dict.fromkeys([*names, *(f"e:q{number}" for number in range(500 - MAX_COUNTERS))], 1)
        await bench.raw.hset(bench.key(f"stats:m:{bench.clock.now_ms() // 60_000 - 1}"), mapping=full)
        await bench.raw.zadd(bench.key("workers"), {"w1": bench.clock.now_ms() + 15_000})
        some = [failing[(number * MAX_FAILURES + i) % len(failing)] for i in range(MAX_FAILURES)]
        tally = Tally(number=number, counters=dict.fromkeys(names, 1), failures=some, vitals=b"x" * 10_000)
        await bench.store.tally("w1", tally, now_ms=bench.clock.now_ms())

    cost["claim"] = await meter.least(*[exchange() for _ in range(TIMES)])
    for kind in (succeeded, died, retried, returned):
        cost[f"{kind.__name__}, and claim"] = await meter.least(*[exchange(kind) for _ in range(TIMES)])
    cost["in doubt"] = await meter.least(*[bench.exchange(held=[], limit=MAX_CLAIMED) for _ in range(TIMES)])
    retiring, dying = [f"r{number}" for number in range(TIMES)], [f"d{number}" for number in range(TIMES)]
    for name in (*retiring, *dying):
        await bench.worker(name)
        await bench.claim(MAX_CLAIMED, by=name)
        await bench.claim(MAX_RECLAIMED - MAX_CLAIMED, by=name)
    cost["retire"] = await meter.least(*[bench.retire(name) for name in retiring])
    end_ms = (await bench.census()).workers[dying[0]]
    bench.clock.advance(ms=end_ms - bench.clock.now_ms())
    cost["reclaim"] = await meter.least(*[bench.reclaim(name, seen_ms=end_ms) for name in dying])
    cost["tally"] = await meter.least(*[tell(number) for number in range(1, TIMES + 1)])
    await bench.wipe()

    assert {name: round(ms, 1) for name, ms in cost.items() if ms > LIMIT_MS} == {}, cost
    assert min(cost.values()) > 0.1, "the meter does not measure"


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_five_thousand_jobs_of_a_dead_worker_come_back_in_bounded_batches(bench: Bench) -> None:
    for start in range(0, 5_000, MAX_ENQUEUE):
        await bench.enqueue(*[job(f"j{number}") for number in range(start, min(start + MAX_ENQUEUE, 5_000))])
    await bench.worker()
    while await bench.claim(MAX_CLAIMED):
        pass
    end_ms = (await bench.census()).workers["w1"]
    bench.clock.advance(ms=MONTH_MS)

    replies = [await bench.reclaim(seen_ms=end_ms)]
    while replies[-1] is Reclaimed.MORE:
        replies.append(await bench.reclaim(seen_ms=0))

    assert len(replies) >= 5_000 / MAX_RECLAIMED
    assert replies[-1] is Reclaimed.DONE
    seen = await bench.census()
    assert (len(set(seen.lines["mail:5"])), seen.active, seen.workers) == (5_000, {}, {})
    await bench.wipe()
