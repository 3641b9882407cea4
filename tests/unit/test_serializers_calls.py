"""Calls and annotations: what binds, what is decoded by which annotation."""

from __future__ import annotations

import enum
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypedDict, TypeVar, Unpack
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotq.document import NO_ARGS, NO_KWARGS
from aiotq.errors import SerializationError, UsageError
from aiotq.serializers import MAX_SHAPES, Codec
from tests.unit.carried import ORIGIN, Colour, Invoice, Line, Point, anything, carried, one

if TYPE_CHECKING:
    from nowhere import Nothing  # pyright: ignore[reportMissingImports]

T = TypeVar("T")
P = ParamSpec("P")


def plain_task(name, age=3): ...
def only_by_place(name, /, age): ...
def only_by_name(name, *, age): ...
def nothing(): ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "said"),
    [
        (plain_task, (), {}, "missing a required argument: 'name'"),
        (plain_task, (1, 2, 3), {}, "too many positional arguments"),
        (plain_task, (1,), {"name": 1}, "multiple values for argument 'name'"),
        (plain_task, (1,), {"nmae": 1}, "got an unexpected keyword argument 'nmae'"),
        (only_by_place, (), {"name": 1, "age": 2}, "'name'"),
        (only_by_name, (1, 2), {}, "too many positional arguments"),
        (only_by_name, (1,), {}, "'age'"),
        (nothing, (1,), {}, "too many positional arguments"),
        (nothing, (), {"a": 1}, "got an unexpected keyword argument 'a'"),
    ],
)
def test_a_wrong_call_is_refused_as_the_call_itself_would_be(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    codec = Codec(function)
    with pytest.raises(TypeError) as caught:
        codec.bind(args, kwargs)
    assert str(caught.value).startswith(f"{function.__name__}() ")
    assert said in str(caught.value)
    with pytest.raises(TypeError):
        function(*args, **kwargs)
    raw = (msgspec.json.encode(args), msgspec.json.encode(kwargs))
    with pytest.raises(SerializationError) as unfit:
        codec.decode_arguments(*raw)
    assert f"{function.__name__}: the arguments do not fit: {function.__name__}() " in str(unfit.value)
    assert said in str(unfit.value)


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain_task, (1,), {}),
        (plain_task, (1, 2), {}),
        (plain_task, (), {"name": 1}),
        (plain_task, (), {"age": 1, "name": 2}),
        (only_by_place, (1,), {"age": 2}),
        (only_by_name, (1,), {"age": 2}),
        (anything, (1, 2, 3), {"rest": 4, "more": 5}),
        (anything, (), {"name": 1}),
        (nothing, (), {}),
    ],
)
def test_a_right_call_arrives_as_it_was_made(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert carried(function, *args, **kwargs) == (args, kwargs)
    codec = Codec(function)
    assert codec.bind(args, kwargs) == codec.bind(args, kwargs) == (args, kwargs)


@given(st.integers(0, 4), st.sets(st.sampled_from(["name", "age", "rest", "more"])), st.sampled_from(
    [plain_task, only_by_place, only_by_name, anything, nothing]
))  # fmt: skip
def test_every_call_is_judged_as_python_does(count: int, names: set[str], function: Callable[..., Any]) -> None:
    args, kwargs = tuple(range(count)), dict.fromkeys(names, 1)
    codec = Codec(function)
    try:
        function(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            codec.bind(args, kwargs)
    else:
        assert codec.bind(args, kwargs) == (args, kwargs)


def test_the_calls_that_are_remembered_are_bounded() -> None:
    codec = Codec(anything)
    for count in range(1, 2 * MAX_SHAPES):
        codec.bind((1,) * count, {})
    assert len(codec._shapes) == MAX_SHAPES
    codec.bind((1,) * 1_000, {})
    with pytest.raises(TypeError):
        codec.bind((), {"rest": 1})


def test_arguments_are_decoded_by_place_by_name_and_the_rest_one_by_one() -> None:
    def task(a: set[int], /, b: Point, *rest: Colour, c: Decimal, **more: UUID) -> None: ...

    args = ({1}, Point(1, 2), Colour.RED, Colour.RED)
    kwargs = {"c": Decimal("1.10"), "a": UUID(int=1), "rest": UUID(int=2)}
    assert carried(task, *args, **kwargs) == (args, kwargs)
    with pytest.raises(SerializationError, match="the argument 'rest' does not fit"):
        carried(task, {1}, Point(1, 2), "green", c=Decimal(1))
    with pytest.raises(SerializationError, match="the argument 'more' does not fit"):
        carried(task, {1}, Point(1, 2), c=Decimal(1), z="no uuid")


def test_arguments_left_to_their_defaults_are_left_to_the_worker() -> None:
    def task(a: set[int], b: Point = ORIGIN, c: int = 3) -> None: ...

    assert carried(task, {1}) == (({1},), {})
    assert carried(task, {1}, Point(1, 2)) == (({1}, Point(1, 2)), {})
    assert carried(task, {1}, c=4) == (({1},), {"c": 4})


def test_a_default_of_none_allows_none() -> None:
    def task(a: int = None, *, b: Point = None) -> None: ...  # noqa: RUF013  # pyright: ignore[reportArgumentType]

    assert carried(task, None, b=None) == ((None,), {"b": None})
    assert carried(task, 1, b=Point(1, 2)) == ((1,), {"b": Point(1, 2)})


def test_no_arguments_are_two_brackets_and_two_braces() -> None:
    codec = Codec(nothing)
    assert codec.encode_arguments((), {}) == (b"[]", b"{}")
    assert codec.decode_arguments(NO_ARGS, NO_KWARGS) == ((), {})
    assert codec.decode_arguments(msgspec.Raw(b"[]"), msgspec.Raw(b"{}")) == ((), {})


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [(b"{}", b"{}"), (b"[]", b"[]"), (b"null", b"{}"), (b"[1", b"{}"), (b"", b""), (b"[" * 100_000, b"{}"),
     (b"[\xff]", b"{}"), (b'["\\ud800"]', b"{}"), (b"[1e999]", b"{}")],
)  # fmt: skip
def test_stored_arguments_that_are_broken_are_an_error_of_their_own(args: bytes, kwargs: bytes) -> None:
    with pytest.raises(SerializationError, match=r"(does|do) not fit"):
        Codec(plain_task).decode_arguments(args, kwargs)


# --- annotations


def test_classes_of_the_function_around_are_found() -> None:
    @dataclass
    class Order:
        number: int

    def nested_once() -> Codec:
        class Inner(NamedTuple):
            x: int

        def task(order: Order, inner: Inner) -> Order: ...

        assert carried(task, Order(1), Inner(2)) == ((Order(1), Inner(2)), {})
        return Codec(task)

    codec = nested_once()
    (order, inner), _ = codec.decode_arguments(b'[{"number":1},[2]]', b"{}")
    assert order == Order(1)
    assert inner == (2,)
    assert type(inner).__name__ == "Inner"
    assert codec.decode_result(b'{"number":3}') == Order(3)


def test_an_annotation_that_cannot_be_resolved_is_plain_json_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def task(a: Nothing, b: set[int], c: int) -> Nothing: ...

    task.__annotations__["c"] = "1 +"
    codec = Codec(task)
    assert not caplog.records
    for _ in range(2):
        raw = codec.encode_arguments(({1}, {2}, {3}), {})
        assert codec.decode_arguments(*raw) == (([1], {2}, [3]), {})
        assert codec.decode_result(b"[1]") == [1]
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text.partition(" can't be resolved")[0] for text in said] == [
        "task: the annotation of 'a'",
        "task: the annotation of 'c'",
        "task: the annotation of the result",
    ]
    assert "name 'Nothing' is not defined" in said[0]


def test_annotations_are_resolved_only_when_they_are_needed() -> None:
    held: dict[str, Any] = {}
    exec("from __future__ import annotations\ndef task(a: Later) -> None: ...", held)
    codec = Codec(held["task"])
    codec.bind((1,), {})
    held["Later"] = set[int]
    assert codec.decode_arguments(b"[[1]]", b"{}") == (({1},), {})


def test_annotations_that_say_nothing_of_a_value_are_plain_json() -> None:
    class Options(TypedDict):
        a: int

    def task(value: T, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def other(**kwargs: Unpack[Options]) -> None: ...

    assert carried(task, {1}, {2}, a={3}) == (([1], [2]), {"a": [3]})
    assert carried(other, a=1) == ((), {"a": 1})


def test_the_annotations_of_a_wrapped_function_hold() -> None:
    import functools

    def task(value: set[int]) -> set[int]:
        return value

    @functools.wraps(task)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return task(*args, **kwargs)

    assert carried(wrapper, {1}) == (({1},), {})
    with pytest.raises(TypeError, match=r"task\(\) missing a required argument: 'value'"):
        Codec(wrapper).bind((), {})


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")
def test_type_parameters_say_nothing_of_a_value() -> None:
    held: dict[str, Any] = {}
    exec("from __future__ import annotations\ndef task[T](a: T, b: list[T]) -> T: ...", held)
    assert carried(held["task"], {1}, [{2}]) == (([1], [[2]]), {})


@dataclass
class Tree:
    leaves: list[Missing]  # pyright: ignore[reportUndefinedVariable]  # noqa: F821


class Mixed(enum.Enum):
    ONE = 1
    A = "a"


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (str | bytes, "more than one str-like type"),
        (str | UUID, "more than one str-like type"),
        (Invoice | Line, "more than one dataclass"),
        (Tree, "name 'Missing' is not defined"),
        (Mixed, "all str or all int values"),
    ],
    ids=repr,
)
def test_an_annotation_that_nothing_can_be_decoded_by_is_an_error_at_the_call(hint: Any, said: str) -> None:
    codec = Codec(one(hint))
    with pytest.raises(UsageError) as caught:
        codec.encode_arguments(("x",), {})
    assert str(caught.value).startswith("task(value=...): its annotation can't be decoded by: ")
    assert said in str(caught.value)
    with pytest.raises(SerializationError, match="its annotation can't be decoded by"):
        codec.decode_arguments(b'["x"]', b"{}")
    with pytest.raises(SerializationError, match="does not fit its return annotation"):
        codec.decode_result(b'"x"')
