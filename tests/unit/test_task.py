from __future__ import annotations

import asyncio
import gc
import inspect
import socket
import warnings
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from aiotq import App, Signature
from aiotq.errors import PayloadTooLarge, SerializationError, UsageError
from aiotq.store.contract import Enqueued, NewJob

app = App("redis://nowhere.invalid", max_payload=1000)


@app.task(name="greet")
async def greet(name: str, *, loud: bool = False) -> str:
    """Greet somebody."""
    return name.upper() if loud else name


@app.task(name="add")
def add(a: int, b: int = 2) -> int:
    return a + b


def made(call: Any) -> NewJob:
    """What a call would send."""
    new = call._new
    call.close()
    return new


# --- called -------------------------------------------------------------------------------------------------------


async def test_calling_a_task_runs_the_function_here() -> None:
    assert await greet("Ada", loud=True) == "ADA"
    assert add(1) == 3


def test_a_task_looks_like_its_function() -> None:
    assert greet.__name__ == "greet"
    assert greet.__doc__ == "Greet somebody."
    assert greet.__module__ == __name__
    assert greet.__wrapped__.__qualname__ == greet.__qualname__
    assert str(inspect.signature(greet)) == "(name: 'str', *, loud: 'bool' = False) -> 'str'"
    assert repr(greet) == "<Task greet>"


# --- enqueued -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, r"greet\(\) missing a required argument: 'name'"),
        (("a", "b"), {}, r"greet\(\) too many positional arguments"),
        (("a",), {"nmae": 1}, r"greet\(\) got an unexpected keyword argument 'nmae'"),
        (("a",), {"name": "b"}, r"greet\(\) multiple values for argument 'name'"),
    ],
)
@pytest.mark.parametrize("way", ["delay", "s", "delay_sync"])
def test_arguments_that_do_not_fit_are_a_type_error_at_the_call(
    way: str, args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        getattr(greet, way)(*args, **kwargs)


def test_an_option_among_the_arguments_is_a_type_error_that_shows_where_it_goes() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'countdown'") as raised:
        greet.delay("a", countdown=5)  # pyright: ignore[reportCallIssue]
    assert raised.value.__notes__ == [
        "countdown is said of a call before it is made: greet.options(countdown=...).delay(...)"
    ]


@pytest.mark.parametrize("way", ["delay", "s", "delay_sync"])
def test_an_argument_that_json_cannot_carry_is_refused_at_the_call(way: str) -> None:
    with socket.socket() as a_socket, pytest.raises(SerializationError, match=r"greet\(name=\.\.\.\).*socket"):
        getattr(greet, way)(a_socket)


@pytest.mark.parametrize("way", ["delay", "s", "delay_sync"])
def test_a_payload_over_the_limit_is_refused_with_both_sizes(way: str) -> None:
    with pytest.raises(PayloadTooLarge, match=r"2,006 bytes; at most 1,000 are allowed .*pass a reference") as raised:
        getattr(greet, way)("x" * 2000)
    assert (raised.value.size, raised.value.limit) == (2006, 1000)


def test_a_payload_of_exactly_the_limit_is_taken() -> None:
    greet.delay("x" * (1000 - len('[""]{}'))).close()


async def test_a_call_that_is_never_awaited_warns_with_the_callers_line() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        line = inspect.currentframe().f_lineno + 1  # pyright: ignore[reportOptionalMemberAccess]
        greet.options(priority=1).delay("Ada")  # pyright: ignore[reportUnusedCoroutine]
        gc.collect()
    [warning] = seen
    assert str(warning.message) == "greet.delay(...) was never awaited: nothing was queued"
    assert warning.category is RuntimeWarning
    assert (warning.filename, warning.lineno) == (__file__, line)


def test_a_call_that_is_closed_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        greet.delay("Ada").close()
        gc.collect()


async def test_what_delay_returns_is_a_coroutine_to_asyncio() -> None:
    call = greet.delay("Ada")
    assert asyncio.iscoroutine(call)
    call.close()


async def test_a_call_that_is_closed_cannot_be_awaited() -> None:
    call = greet.delay("Ada")
    call.close()
    with pytest.raises(RuntimeError, match=r"greet\.delay\(\.\.\.\) was awaited already"):
        await call


def test_the_arguments_are_those_of_the_moment_of_the_call() -> None:
    @app.task(name="count")
    async def count(items: list[int]) -> None: ...

    items = [1]
    call = count.delay(items)
    items.append(2)
    assert b'"a":[[1]]' in made(call).body


def test_each_job_has_an_id_and_a_generation_of_its_own() -> None:
    jobs = [made(greet.delay("Ada")) for _ in range(1000)]
    assert len({job.job_id for job in jobs}) == 1000
    assert len({job.generation for job in jobs}) > 990
    assert all(len(job.job_id) == 32 and job.job_id[12] == "7" for job in jobs)
    times = [int(job.job_id[:12], 16) for job in jobs]
    assert times == sorted(times)


def test_a_job_waits_in_the_line_that_its_options_name() -> None:
    urgent = app.task(name="urgent", queue="mail", priority=1)(lambda: None)
    assert made(greet.delay("Ada")).line == "default:5"
    assert made(urgent.delay()).line == "mail:1"
    assert made(urgent.options(queue="low", priority=0).delay()).line == "low:0"
    assert made(urgent.options(lifo=True).delay()).line == "mail:b"


def test_a_record_holds_only_what_the_task_does_not_say() -> None:
    plain = made(greet.delay("Ada"))
    assert msgspec.json.decode(plain.body) == {"t": "greet", "a": ["Ada"]}
    more = made(greet.options(retries=0, timeout=2, result_ttl=60, countdown=5).delay("Ada", loud=True))
    assert msgspec.json.decode(more.body) == {
        "t": "greet", "a": ["Ada"], "k": {"loud": True}, "r": 0, "o": 2000, "y": 60_000, "d": 5000,
    }  # fmt: skip
    assert (plain.delay_ms, more.delay_ms) == (None, 5000)


# --- signatures ---------------------------------------------------------------------------------------------------


def test_a_signature_is_a_frozen_value() -> None:
    call = greet.s("Ada", loud=True)
    assert call == greet.s("Ada", loud=True)
    assert call != greet.s("Bob", loud=True)
    assert (call.task, call.args, call.kwargs) == ("greet", b'["Ada"]', b'{"loud":true}')
    assert repr(call) == '<Signature greet ["Ada"] {"loud":true}>'
    with pytest.raises(AttributeError):
        call.task = "other"  # pyright: ignore[reportAttributeAccessIssue]


async def test_only_calls_of_the_same_app_are_enqueued() -> None:
    other = App("redis://nowhere.invalid")
    foreign: Signature[str] = other.task(name="greet")(greet.__wrapped__).s("Ada")
    with pytest.raises(UsageError, match="no call of a task of this app"):
        await app.enqueue_many([foreign])
    with pytest.raises(UsageError, match="no call of a task of this app"):
        await app.enqueue_many([greet])  # pyright: ignore[reportArgumentType]


async def test_no_signatures_are_no_jobs() -> None:
    assert await app.enqueue_many([]) == []


# --- from a thread ------------------------------------------------------------------------------------------------


async def test_delay_sync_refuses_to_block_a_running_loop() -> None:
    with pytest.raises(UsageError, match=r"would block it; write: await greet\.delay\(\.\.\.\)"):
        greet.delay_sync("Ada")


@pytest.mark.parametrize(
    ("call", "existed"), [(greet, False), (greet.options(job_id="mine"), True)], ids=["own", "given"]
)
@pytest.mark.parametrize("many", [False, True])
async def test_a_job_of_an_id_that_nobody_else_can_have_did_not_exist(
    call: Any, *, existed: bool, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the repetition of a lost answer has found it, and with another generation, since it had been retried."""

    class Sender:
        def send(self, new: NewJob) -> asyncio.Future[Enqueued]:
            answer: asyncio.Future[Enqueued] = asyncio.get_running_loop().create_future()
            answer.set_result(Enqueued.EXISTED)
            return answer

        async def send_many(self, jobs: Any) -> list[Enqueued]:
            return [Enqueued.EXISTED for _ in jobs]

    monkeypatch.setattr(app._core, "client", lambda: SimpleNamespace(sender=Sender()))
    [job] = await app.enqueue_many([call.s("Ada")]) if many else [await call.delay("Ada")]
    assert job.existed is existed
