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
from tests.contract.kit import MONTH_MS, died, job, retried, returned, succeeded

if TYPE_CHECKING:
    from tests.contract.kit import Bench

STORE = Path(scripts.__file__).parent
FILES = sorted((STORE / "lua").glob("*.lua"))

# Of Redis 6.2, and known to Valkey 7.2 and fakeredis.
COMMANDS = {
    *("DEL", "EXISTS", "GET", "GETRANGE", "HDEL", "HGET", "HGETALL", "HINCRBY", "HLEN", "HMGET", "HSET", "INCR"),
    *("LLEN", "LPOP", "LPUSH", "MGET", "PEXPIRE", "PTTL", "PUBLISH", "RENAME", "RPUSH", "SADD", "SCARD", "SET"),
    *("SETRANGE", "SMEMBERS", "SMISMEMBER", "SPOP", "SREM", "STRLEN", "TIME", "ZADD", "ZRANGE", "ZRANGEBYSCORE"),
    *("ZREM", "ZREVRANGEBYSCORE", "ZSCORE"),
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
    called = set(re.findall(r"(?:call|safe)\(\s*'([A-Z]+)'", code))
    called |= set(re.findall(r"'((?:[LR]PUSH))'", code))

    assert called <= COMMANDS
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
            if not evaluating & set(map(str, words)):
                continue
            found.append(file.name)
            sent = [value for value in values if not isinstance(value, ast.Constant)]
            texts = [value for value in sent if isinstance(value, ast.JoinedStr | ast.BinOp | ast.Call)]
            assert not texts, f"{file.name} puts a script together"
            assert any(isinstance(value, ast.Attribute) and value.attr in {"sha", "text"} for value in sent)
    assert found, "the look found no command that runs a script: it is wrong itself"


# --- how long they take


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_no_script_runs_longer_than_a_few_milliseconds_at_its_bound(bench: Bench) -> None:
    limit_us = 25_000  # 5 ms are asked for on a quiet machine; here others compute as well
    before: dict[str, Any] = await bench.raw.config_get("slowlog-log-slower-than")
    await bench.raw.config_set("slowlog-log-slower-than", limit_us)
    await bench.raw.slowlog_reset()
    body = b"x" * 1_500
    try:
        for start in range(0, 5_000, MAX_ENQUEUE):
            await bench.enqueue(*[job(f"j{number}", body=body) for number in range(start, start + MAX_ENQUEUE)])
        for start in range(0, 10_000, MAX_ENQUEUE):
            jobs = [job(f"d{number}", f"q{number % 50}:5", delay_ms=5) for number in range(start, start + MAX_ENQUEUE)]
            await bench.enqueue(*jobs)
        await bench.worker()
        held = await bench.claim(MAX_CLAIMED)
        kinds = (succeeded, died, retried, returned)
        await bench.exchange(*[kinds[i % 4](one) for i, one in enumerate(held[:MAX_FINISHED])], limit=MAX_CLAIMED)
        bench.clock.advance(ms=5)
        await bench.exchange(limit=MAX_CLAIMED)
        while (await bench.promote(limit=MAX_PROMOTED)).moved:
            pass
        while await bench.claim(MAX_CLAIMED):
            pass
        await bench.exchange(held=[], limit=MAX_CLAIMED)
        end_ms = (await bench.census()).workers["w1"]
        bench.clock.advance(ms=MONTH_MS)
        assert await bench.reclaim(seen_ms=end_ms) is Reclaimed.MORE
        while await bench.reclaim(seen_ms=0, limit=MAX_RECLAIMED) is Reclaimed.MORE:
            pass
        await bench.store.backlog(["mail", "q1"])
        slow = [entry for entry in await bench.raw.slowlog_get(100) if entry["command"].startswith(b"EVALSHA")]
    finally:
        await bench.raw.config_set("slowlog-log-slower-than", before["slowlog-log-slower-than"])
    names = {script.sha.encode(): script.name for script in scripts.ALL}
    assert [(names[entry["command"].split()[1]], entry["duration"]) for entry in slow] == []
    await bench.wipe()


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_five_thousand_jobs_of_a_dead_worker_come_back_in_bounded_batches(bench: Bench) -> None:
    for start in range(0, 5_000, MAX_ENQUEUE):
        await bench.enqueue(*[job(f"j{number}") for number in range(start, start + MAX_ENQUEUE)])
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
