"""Bytes of somebody who can write to Redis: no code of theirs runs, nothing is imported, and nobody else is held up."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aiotq import App
from aiotq.worker import outbox, triage
from tests.worker.hostile import MIB, dead, hello, plant, record_of
from tests.worker.kit import until

if TYPE_CHECKING:
    from tests.worker.kit import Events, Keys

HOSTILE_TASKS = (
    *("os.system", "os:system", "builtins.eval", "builtins:eval", "__import__", "subprocess:run", "antigravity:x"),
    *(
        "hello.__globals__",
        "hello.__class__",
        "__main__:__builtins__",
        "..",
        "",
        "a\x00b",
        "a\r\nINFO forged line",
        "ä",
    ),
    *("x" * MIB, "\u202e", "this:s", "tests.worker.kit:until"),
)


class Bomb:
    """What runs a command once it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.command = f"touch {canary}"

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that must not come to be."""
    return tmp_path / "canary"


def bombs(canary: Path) -> list[bytes]:
    """Bytes that some reader of some queue would run."""
    command = f"touch {canary}"
    return [
        pickle.dumps(Bomb(canary)),
        pickle.dumps(Bomb(canary), protocol=0),
        f"!!python/object/apply:os.system ['{command}']".encode(),
        msgspec.json.encode({"__reduce__": ["os.system", [command]]}),
        msgspec.json.encode({"py/reduce": [{"py/type": "os.system"}, {"py/tuple": [command]}]}),
        f"__import__('os').system('{command}')".encode(),
    ]


# --- S1 and S2: no way from bytes to code -----------------------------------------------------------------------------


async def test_bombs_in_every_place_of_the_store_do_nothing(app: App, keys: Keys, canary: Path) -> None:
    app.task(hello, name="hello")
    client, prefix = keys.client, keys.prefix
    for number, bomb in enumerate(bombs(canary)):
        await plant(keys, f"record{number}", bomb)
        await plant(keys, f"body{number}", record_of(bomb))
        text = bomb.decode("latin-1")
        await plant(keys, f"args{number}", record_of({"t": "hello", "a": [text]}))
        await plant(keys, f"task{number}", record_of({"t": text}))
        await client.rpush(f"{prefix}line:default:5", bomb)
        await client.zadd(f"{prefix}schedule", {bomb: number})
        await client.hset(f"{prefix}lost", f"args{number}", bomb)
        await client.hset(f"{prefix}cancels", bomb, bomb)
        await client.hset(f"{prefix}worker:w{number}", mapping={"label": bomb, "queues": bomb, "lease_ms": bomb})
        await client.zadd(f"{prefix}workers", {f"w{number}": 1})
        await client.set(f"{prefix}poller", bomb)
    modules = set(sys.modules)
    async with app.worker():
        assert [await app.job(f"args{number}").result(timeout=10) for number in range(6)]
        for number in range(6):
            assert (await dead(app, f"record{number}")).error_type == "InvalidRecord"
    assert not {name for name in set(sys.modules) - modules if not name.startswith(("aiotq", "encodings"))}
    assert not canary.exists()
    await client.delete(f"{prefix}cancels", f"{prefix}lost", f"{prefix}workers")
    await client.delete(*[f"{prefix}worker:w{number}" for number in range(6)])
    await client.delete(*[f"{prefix}job:task{number}" for number in range(6)], f"{prefix}schedule")


def test_the_bombs_are_live(canary: Path) -> None:
    pickle.loads(bombs(canary)[0])
    assert canary.exists()


async def test_a_hostile_task_name_is_an_unknown_task_and_nothing_is_imported(
    app: App, keys: Keys, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = App(app.source().url, namespace=app._core.settings.namespace, unknown_for=0)
    patient.task(hello, name="hello")
    imported: list[str] = []
    for number, name in enumerate(HOSTILE_TASKS):
        await plant(keys, f"j{number}", record_of({"t": name, "a": ["touch canary"]}))
    before = set(sys.modules)

    def hook(name: str, *rest: object) -> None:
        imported.append(name)

    monkeypatch.setattr(sys, "meta_path", [type("Hook", (), {"find_spec": staticmethod(hook)}), *sys.meta_path])
    async with patient, patient.worker():
        failures = [await dead(patient, f"j{number}") for number in range(len(HOSTILE_TASKS))]
        assert await (await patient.tasks["hello"].delay("Ada")).result(timeout=10) == "Hello, Ada"
    assert {failed.error_type for failed in failures} == {"UnknownTask"}
    assert not [name for name in imported if name.partition(".")[0] in {"os", "subprocess", "antigravity", "this"}]
    assert not {"antigravity", "this"} & (set(sys.modules) - before)
    lines = [line.getMessage() for line in events.of("failed")]
    assert not [line for line in lines if "\n" in line or "\r" in line or len(line) > 10_000]  # nobody forges a line


async def test_a_name_in_a_record_leads_to_no_attribute_of_a_task(app: App, keys: Keys) -> None:
    @app.task(process=False, name="tests.worker.test_hostile:hello")
    async def own() -> str:
        return "own"

    patient = App(app.source().url, namespace=app._core.settings.namespace, unknown_for=0)
    patient.task(hello, name="hello")
    await plant(keys, "j1", record_of({"t": "hello.delay"}))
    await plant(keys, "j2", record_of({"t": own.name}))  # there is such a function, and no such task in this app
    async with patient, patient.worker():
        for job_id in ("j1", "j2"):
            assert (await dead(patient, job_id)).error_type == "UnknownTask"


# --- one odd job stops no other ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["settle", "triage"])
async def test_a_job_that_cannot_be_handled_is_a_dead_letter_and_the_others_go_on(
    app: App, keys: Keys, events: Events, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """By a mistake of ours, which is made here."""
    task = app.task(hello, name="hello")
    where = outbox if which == "settle" else sys.modules["aiotq.worker.admit"]
    real = getattr(where, which)

    def mistaken(held: Any, **rest: Any) -> Any:
        if held.job_id == "odd":
            raise RuntimeError("a mistake")
        return real(held, **rest)

    monkeypatch.setattr(where, which, mistaken)
    if which == "triage":
        assert triage.triage is real
    async with app.worker():
        jobs = [await task.options(job_id=job_id).delay(job_id) for job_id in ("a", "odd", "b")]
        assert [await jobs[at].result(timeout=10) for at in (0, 2)] == ["Hello, a", "Hello, b"]
        failed = await dead(app, "odd")
        assert await (await task.delay("Ada")).result(timeout=10) == "Hello, Ada"
    assert (failed.error_type, failed.error_message) == ("RuntimeError", "a mistake")
    assert events.of("mistake", job_id="odd")
    info = await app.job("odd").info()
    assert info.reason == "invalid record"


async def test_scores_that_are_no_times_stop_no_heartbeat_and_no_poller(app: App, keys: Keys, events: Events) -> None:
    app.task(hello, name="hello")
    client, prefix = keys.client, keys.prefix
    scores = {"inf": "+inf", "none": "-inf", "far": "1e300", "part": "1.5", "below": "-7"}
    await client.zadd(f"{prefix}workers", {f"x-{name}": score for name, score in scores.items()})
    await client.zadd(f"{prefix}workers", {b"\xff\x00": 5, b"y" * 1000: "inf"})
    for name in scores:
        await keys.set_record(name, record_of({"t": "hello", "a": [name]}))
    tickets = {f"default:5:AAAA:{name}": score for name, score in scores.items()}
    await client.zadd(f"{prefix}schedule", {**tickets, b"\x00garbage": "inf"})
    short = App(app.source().url, namespace=app._core.settings.namespace, lease=1)
    short.task(hello, name="hello")
    async with short, short.worker() as worker:
        for name in scores:
            assert await short.job(name).result(timeout=10) == f"Hello, {name}"

        async def all_gone() -> bool:
            return await client.zcard(f"{prefix}workers") == 1

        await until(all_gone)
        assert worker.stuck is False
    assert not events.of("mistake")
    assert not events.of("lease_lost")
    kept = await client.zrange(f"{prefix}dead", 0, -1)
    assert {b"!schedule!\x00garbage", b"!workers!\xff\x00", b"!workers!" + b"y" * 1000} <= set(kept)
