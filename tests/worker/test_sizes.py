"""What is too large or too deep is refused at once, whoever sends it, and costs next to nothing."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from aiotq import App
from aiotq.errors import InvalidRecord, PayloadTooLarge, SerializationError
from tests.worker.hostile import MIB, dead, hello, plant, put_in_line, record_of
from tests.worker.kit import until, within

if TYPE_CHECKING:
    from tests.worker.kit import Keys

linux = pytest.mark.skipif(sys.platform != "linux", reason="the peak of the memory in use is read as Linux tells it")


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
