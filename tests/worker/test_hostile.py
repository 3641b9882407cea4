"""Bytes of somebody who can write to Redis: no code of theirs runs, nothing is imported, and nobody else is held up."""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import pytest

from aiotq import App
from aiotq.errors import InvalidRecord, JobFailed, PayloadTooLarge, SerializationError
from aiotq.worker import outbox, triage
from tests.worker.kit import until, within

if TYPE_CHECKING:
    from tests.worker.kit import Events, Keys

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="the peak of the memory in use is read as Linux tells it")
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


async def hello(name: Any = None) -> str:
    return f"Hello, {name}"


def record_of(document: dict[str, Any] | bytes, generation: str = "AAAA") -> bytes:
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return f"1w{generation}1800000000000".encode() + body


async def plant(keys: Keys, job_id: str, record: bytes, *, line: str = "default:5", generation: str = "AAAA") -> None:
    """A job as somebody else would write it."""
    await keys.set_record(job_id, record)
    await put_in_line(keys, f"{line}:{generation}:{job_id}")


async def put_in_line(keys: Keys, ticket: str) -> None:
    queue, place, *_ = ticket.split(":")
    await keys.client.rpush(f"{keys.prefix}line:{queue}:{place}", ticket)
    await keys.client.zadd(f"{keys.prefix}lines:{queue}", {place: int(place)})
    await keys.client.rpush(f"{keys.prefix}wake:{queue}", "1")
    await keys.client.pexpire(f"{keys.prefix}wake:{queue}", 60_000)


async def dead(app: App, job_id: str) -> JobFailed:
    """What it failed with, once it is a dead letter; who waits for a record that can't be read is told at once."""

    async def readable() -> bool:
        with suppress(InvalidRecord):
            return (await app.job(job_id).status()).ended
        return False

    await until(readable)
    with pytest.raises(JobFailed) as failed:
        await app.job(job_id).result(timeout=10)
    return failed.value


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


# --- S9: what nobody shall read ---------------------------------------------------------------------------------------


def said(events: Events, *, debug: bool) -> str:
    """All text of the lines so far, tracebacks and extras included."""
    lines = [line for line in events.records if debug or line.levelno > 10]
    return "\n".join(f"{line.getMessage()} {line.exc_info} {vars(line)}" for line in lines)


async def test_arguments_are_in_no_line_at_info_or_above(app: App, events: Events) -> None:
    from typing import Literal

    @app.task(name="fail", retries=0)
    async def fail(text: str) -> None:
        raise RuntimeError("something else")

    @app.task(name="choose", retries=0)
    async def choose(text: Literal["a", "b"]) -> None: ...

    app.task(hello, name="hello")
    async with app.worker():
        await (await app.tasks["hello"].delay("canary")).result(timeout=10)
        for task in (fail, choose):
            failed = await dead(app, (await task.delay("canary")).id)  # type: ignore[arg-type]
            assert "canary" not in str(failed)
    assert "canary" not in said(events, debug=False)
    assert "canary" in said(events, debug=True)  # it was asked for


SWEAR = """
from aiotq import App

app = App()


@app.task(process=True, retries=0, sensitive={"password"}, name="swear")
def swear(user: str, password: str, *, wrong: bool = False) -> str:
    if wrong:
        raise ValueError(f"{user} has no password {password!r}")
    return password
"""


@pytest.mark.parametrize("where", ["loop", "thread", "process"])
async def test_a_sensitive_argument_is_in_no_line_and_no_error(
    app: App, events: Events, keys: Keys, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "swearing.py").write_text(SWEAR)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("swearing")
    inner = module.swear.registered.fn

    async def on_loop(user: str, password: str, *, wrong: bool = False) -> str:
        return inner(user, password, wrong=wrong)

    if where == "process":
        there = module.app
        core = there._core
        core.override, core.settings = app.source().url, app._core.settings
    else:
        there = app
        fn = on_loop if where == "loop" else inner
        there.task(fn, name="swear", retries=0, sensitive={"password"})
    swear = there.tasks["swear"]
    async with there, there.worker(pool_processes=1):
        assert await (await swear.delay("ada", "canary-1234")).result(timeout=30) == "canary-1234"
        failed = await dead(there, (await swear.delay("eve", password="canary-1234", wrong=True)).id)
    sys.modules.pop("swearing")
    assert failed.error_message == "eve has no password '***'"
    assert failed.frames
    assert "canary-1234" not in str(failed) + said(events, debug=True)
    assert len(events.of("arguments")) == len(events.of("started")) == 2
    record = await keys.record(failed.job_id) or b""
    assert record.count(b"canary-1234") == 1  # the argument itself: a person may have it retried


async def test_a_task_may_keep_its_traceback_out_of_its_record(app: App, keys: Keys) -> None:
    @app.task(name="fail", retries=0, store_traceback=False)
    async def fail() -> None:
        password = "canary"
        raise ValueError(len(password))

    @app.task(name="tell", retries=0)
    async def tell() -> None:
        password = "canary"
        raise ValueError(len(password))

    async with app.worker():
        silent, told = [await dead(app, (await task.delay()).id) for task in (fail, tell)]
    assert (silent.error_type, silent.error_message, silent.frames) == ("ValueError", "6", ())
    assert told.frames
    assert b"canary" not in (await keys.record(told.job_id) or b"")  # no locals


async def test_what_is_stored_of_an_error_takes_64_kib_at_most(app: App, keys: Keys) -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise type("E" * 100_000, (ValueError,), {})("€" * 100_000)

    @app.task(name="fail", retries=0)
    async def fail() -> None:
        code = "def " + "f" * 50_000 + "(deep):\n    deep(200)\n"
        scope: dict[str, Any] = {}
        exec(compile(code, "/" + "d" * 50_000 + ".py", "exec"), scope)
        scope["f" * 50_000](deep)

    async with app.worker():
        failed = await dead(app, (await fail.delay()).id)
    assert len(failed.error_type) <= 200
    assert len(await keys.record(failed.job_id) or b"") < 64 << 10


# --- S10: sizes and depths --------------------------------------------------------------------------------------------


class Cost:
    """What a block takes: CPU seconds of this process, and how far its memory rises at most, in MiB."""

    def __enter__(self) -> Self:
        gc.collect()
        gc.disable()  # what else this process holds is not to be counted
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew, at what is in use now
        self._began_mib, self._began_s = self._peak_mib(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        seconds, mib = time.process_time() - self._began_s, self._peak_mib() - self._began_mib
        gc.enable()
        if error[0] is None:
            assert seconds < 0.1, f"it took {seconds * 1000:.0f} ms"
            assert mib < 20, f"it took {mib:.0f} MiB"

    @staticmethod
    def _peak_mib() -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


# Made where they are needed: together they take half a gigabyte.
HUGE: dict[str, Callable[[], Any]] = {
    "text": lambda: "x" * (100 * MIB),
    "bytes": lambda: b"x" * (100 * MIB),
    "inside": lambda: [[{"a": "x" * (100 * MIB)}]],
    "many": lambda: ["x" * MIB] * 100,
    "texts": lambda: ["x" * 1_000] * 100_000,
    "keys": lambda: {str(number): number for number in range(1_000_000)},
    "keys inside": lambda: ({str(number): number for number in range(1_000_000)},),
    "numbers": lambda: list(range(1_000_000)),
}


@linux
@pytest.mark.parametrize("what", HUGE)
def test_huge_arguments_are_refused_by_the_caller_in_no_time(app: App, what: str) -> None:
    task, value = app.task(hello, name="hello"), HUGE[what]()
    with Cost(), pytest.raises(PayloadTooLarge, match="reference"):
        task.s(value)
    with Cost(), pytest.raises(PayloadTooLarge):
        task.s(name=value)


@linux
def test_deep_arguments_are_refused_by_the_caller_in_no_time(app: App) -> None:
    task, value = app.task(hello, name="hello"), nested(100_000)
    with Cost(), pytest.raises(SerializationError, match="more than 64"):
        task.s(value)
    while value:  # else its end would be as deep
        value = value.pop()


@linux
@pytest.mark.parametrize("what", ["text", "keys"])
async def test_a_huge_result_fails_its_job_in_no_time(app: App, what: str) -> None:
    value = HUGE[what]()

    @app.task(name="give", retries=3)
    async def give() -> Any:
        return value

    task = app.task(hello, name="hello")
    async with app.worker():
        await (await task.delay()).result(timeout=10)
        with Cost():
            failed = await dead(app, (await give.delay()).id)
    assert (failed.error_type, failed.attempt) == ("ResultTooLarge", 1)


DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES: dict[str, Callable[[], bytes]] = {
    "100 MiB of text": lambda: b'{"t":"hello","a":["' + b"x" * (100 * MIB) + b'"]}',
    "100 MiB of brackets": lambda: b'{"t":"hello","a":[' + b"[]," * (33 * MIB) + b"[]]}",
    "10^6 keys": lambda: b'{"t":"hello","k":{' + b",".join(b'"k%d":0' % at for at in range(1_000_000)) + b"}}",
    "depth 10^5": lambda: b'{"t":"hello","a":[' + DEEP + b"]}",
    "depth 10^5, open": lambda: b'{"t":"hello","a":' + b'[{"":' * 100_000,
    "a megabyte of quotes": lambda: b'{"t":"hello","a":[' + b'"[' * (MIB // 2) + b"]}",
    "depth 65": lambda: b'{"t":"hello","a":[' + b"[" * 65 + b"]" * 65 + b"]}",
    "depth 65, by names": lambda: b'{"t":"hello","k":{"name":' + b'{"a":' * 65 + b"1" + b"}" * 65 + b"}}",
}


@linux
@pytest.mark.parametrize("what", BODIES)
async def test_a_hostile_record_is_refused_by_the_worker_in_no_time(app: App, keys: Keys, what: str) -> None:
    body = BODIES[what]()
    task = app.task(hello, name="hello")
    generation = "!AAA" if len(body) > 16_000 else "AAAA"
    await keys.set_record("hostile", record_of(body, generation))
    del body

    async def buried() -> bool:
        return await keys.client.zscore(f"{keys.prefix}dead", "hostile") is not None

    async with app.worker():
        assert await (await task.delay()).result(timeout=10)  # everything has been loaded once
        with Cost():
            await put_in_line(keys, f"default:5:{generation}:hostile")
            await until(buried)
        failed = await dead(app, "hostile")
        assert await (await task.delay()).result(timeout=10)
    assert failed.error_type in {"InvalidRecord", "PayloadTooLarge"}
    assert len(await keys.record("hostile") or b"") < 100 << 10


@linux
@pytest.mark.parametrize("what", ["100 MiB of text", "depth 10^5"])
async def test_a_hostile_result_is_refused_by_who_waits_for_it_in_no_time(app: App, keys: Keys, what: str) -> None:
    body = BODIES[what]().replace(b'"a":', b'"v":')
    await keys.client.set(f"{keys.prefix}job:hostile", b"1sAAAA1800000000000" + body, px=60_000)
    del body
    with Cost(), pytest.raises(InvalidRecord):
        await app.job("hostile").result(timeout=10)


async def test_arguments_64_deep_and_of_a_megabyte_are_run(app: App) -> None:
    task = app.task(hello, name="hello")
    async with app.worker():
        assert await (await task.delay(nested(63))).result(timeout=10)
        text = "x" * (MIB - len('[""]{}'))
        failed = await dead(app, (await task.delay(text)).id)  # as a result it is seven characters more
        assert failed.error_type == "ResultTooLarge"
        assert await (await task.delay(text[:-7])).result(timeout=10)


@pytest.mark.parametrize(
    ("body", "comes_to"),
    [
        (b'{"t":"hello","t":"hello","a":["x"],"a":["Ada"]}', "Hello, Ada"),  # the last one counts, for all readers
        (b'{"t":"hello","a":["\\ud800"]}', "InvalidRecord"),
        (b'{"t":"\\ud800"}', "InvalidRecord"),
        (b'{"t":"hello","a":["\xed\xa0\x80"]}', "SerializationError"),
        (b'{"t":"hello","a":[NaN]}', "InvalidRecord"),
        (b'{"t":"hello","a":[-Infinity]}', "InvalidRecord"),
        (b'{"t":"hello","a":[1e999]}', "SerializationError"),
        (
            b'{"t":"hello","a":[340282366920938463463374607431768211456]}',
            "Hello, 340282366920938463463374607431768211456",
        ),
        (b'{"t":"hello","a":[' + b"9" * 900_000 + b"]}", "SerializationError"),
        (b'{"t":"hello","r":18446744073709551616}', "InvalidRecord"),
        (b'{"t":"hello","a":"text","k":[]}', "SerializationError"),
        (b'{"t":"hello","a":[1,2,3]}', "SerializationError"),
        (b'{"t":"hello","k":{"__class__":1}}', "SerializationError"),
        (b'{"t":"hello","y":9007199254740992,"x":9007199254740992,"o":9007199254740992,"n":9007199254740991}', "Hello"),
    ],
)
async def test_odd_json_is_run_or_is_a_dead_letter(app: App, keys: Keys, body: bytes, comes_to: str) -> None:
    app.task(hello, name="hello")
    generation = "!AAA" if len(body) > 16_000 else "AAAA"
    await plant(keys, "odd", record_of(body, generation), generation=generation)
    async with within(), app.worker():
        if comes_to.startswith("Hello"):
            assert (await app.job("odd").result(timeout=10)).startswith(comes_to)
        else:
            assert (await dead(app, "odd")).error_type == comes_to
    await keys.client.delete(f"{keys.prefix}job:odd")


async def test_a_key_that_turns_into_another_type_after_its_claim_holds_up_nobody(app: App, keys: Keys) -> None:
    """A large record is read after its claim."""
    task = app.task(hello, name="hello")
    store = app._core.client().store
    await keys.client.rpush(f"{keys.prefix}job:list", "x")
    assert await store.read("list", at_most=100) is None
    assert await store.read("list") is None
    await keys.client.delete(f"{keys.prefix}job:list")
    async with app.worker():
        assert await (await task.delay("x" * 20_000)).result(timeout=10)


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
