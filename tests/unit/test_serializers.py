from __future__ import annotations

import enum
import logging
import math
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from time import process_time
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, ParamSpec, TypedDict, TypeVar, Unpack
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotq import plain
from aiotq.document import NO_ARGS, NO_KWARGS
from aiotq.errors import SerializationError, UsageError
from aiotq.frames import full_traceback
from aiotq.serializers import MAX_SHAPES, Codec

if TYPE_CHECKING:
    from nowhere import Nothing  # pyright: ignore[reportMissingImports]

T = TypeVar("T")
P = ParamSpec("P")


def carried(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What arrives in the worker."""
    codec = Codec(function)
    return codec.decode_arguments(*codec.encode_arguments(*codec.bind(args, kwargs)))


def one(hint: Any) -> Callable[..., Any]:
    """A function of one parameter with that annotation."""

    def task(value):
        return value

    task.__annotations__ = {"value": hint, "return": hint}
    return task


def same(value: Any, hint: Any) -> bool:
    """Whether it arrives as it was sent, as an argument by position and by name and as a result."""
    codec = Codec(one(hint))
    by_place, _ = codec.decode_arguments(*codec.encode_arguments((value,), {}))
    _, by_name = codec.decode_arguments(*codec.encode_arguments((), {"value": value}))
    result = codec.decode_result(codec.encode_result(value))
    return all(type(found) is type(value) and found == value for found in (by_place[0], by_name["value"], result))


@dataclass
class Invoice:
    number: int
    lines: list[Line] = field(default_factory=list)
    due: date | None = None


@dataclass(frozen=True)
class Line:
    item: str
    price: Decimal


class Sale(msgspec.Struct, frozen=True):
    seller: str
    at: datetime


class Item(TypedDict):
    name: str
    tags: set[str]


class Point(NamedTuple):
    x: int
    y: int


ORIGIN = Point(0, 0)


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Buyer(pydantic.BaseModel):
    name: str = pydantic.Field(alias="buyerName")
    since: datetime
    photo: bytes = b""
    aliased: int = pydantic.Field(1, serialization_alias="asOut", validation_alias="asIn")
    model_config = pydantic.ConfigDict(extra="forbid")

    @pydantic.computed_field
    @property
    def shout(self) -> str:
        return self.name.upper()


ADA = Buyer.model_validate({"buyerName": "Ada", "since": datetime(2026, 11, 23, tzinfo=UTC), "asIn": 2})


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]


# --- what arrives as its type


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, None),
        (True, bool),
        (5, int),
        (2**70, int),
        (-(2**70), int),
        (0.1, float),
        (-0.0, float),
        ("lämp ☠ \x00", str),
        (b"\x00\xff", bytes),
        (Decimal("1.10"), Decimal),
        (Decimal("-0.00"), Decimal),
        (UUID(int=7), UUID),
        (datetime(2026, 11, 23, 13, 7, 4, 123456, tzinfo=UTC), datetime),
        (datetime(2026, 11, 23, 13, 7), datetime),  # noqa: DTZ001  a naive one stays naive
        (datetime(2026, 11, 23, tzinfo=timezone(timedelta(hours=5, minutes=30))), datetime),
        (date(2026, 11, 23), date),
        (time(13, 7, 4, 5), time),
        (timedelta(days=-3, microseconds=1), timedelta),
        ([1, 2], list[int]),
        ((1, "a"), tuple[int, str]),
        ((1, 2, 3), tuple[int, ...]),
        ((), tuple[()]),
        ({1, 2}, set[int]),
        (frozenset({"a"}), frozenset[str]),
        ({"a": {1}}, dict[str, set[int]]),
        ({1: "a"}, dict[int, str]),
        ({UUID(int=1): 1}, dict[UUID, int]),
        ({1.5: 1}, dict[float, int]),
        ([1], Sequence[int]),
        ({"a": 1}, Mapping[str, int]),
        (None, int | None),
        (5, int | str),
        ("5", int | str),
        (1.5, int | float),
        ("a", Literal["a", 3]),
        (Colour.RED, Colour),
        (Size.SMALL, Size),
        (Rights.READ | Rights.WRITE, Rights),
        ({Colour.RED: 1}, dict[Colour, int]),
        (Point(1, 2), Point),
        (Invoice(7, [Line("lamp", Decimal("40.00"))], date(2026, 11, 23)), Invoice),
        (Sale("s-17", datetime(2026, 11, 23, tzinfo=UTC)), Sale),
        ({"name": "lamp", "tags": {"a"}}, Item),
        ([{"a": (Point(1, 2), None)}], list[dict[str, tuple[Point, Colour | None]]]),
        (Line("a", Decimal(1)), Line | None),
        ("x", Annotated[str, msgspec.Meta(max_length=3)]),
    ],
    ids=repr,
)
def test_a_value_arrives_as_its_annotation_says(value: Any, hint: Any) -> None:
    assert same(value, hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (ADA, Buyer),
        ([ADA], list[Buyer]),
        ({"a": (ADA, 1)}, dict[str, tuple[Buyer, int]]),
        (None, Buyer | None),
        (Dog(kind="dog"), Cat | Dog),
        (Dog(kind="dog"), Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]),
        ([Dog(kind="dog"), Cat(kind="cat"), None], list[Cat | Dog | None]),
    ],
    ids=repr,
)
def test_pydantic_models_arrive_as_models_also_inside_others(value: Any, hint: Any) -> None:
    assert same(value, hint)


@pytest.mark.parametrize("version", ["2.10.6", pydantic.VERSION])
def test_a_model_with_an_alias_is_carried_by_older_versions_of_pydantic(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mail(pydantic.BaseModel):
        to: str = pydantic.Field(alias="mailTo")

    monkeypatch.setattr(pydantic, "VERSION", version)
    assert same(Mail(mailTo="Ada"), Mail)
    assert same([Mail(mailTo="Ada"), Cat(kind="cat")], list[Mail | Cat])


def test_the_error_of_a_model_tells_the_field_but_not_the_value() -> None:
    codec = Codec(one(Buyer))
    raw = codec.encode_arguments(({"name": "Ada", "since": "S3CR3T", "aliased": "S3CR3T"},), {})
    with pytest.raises(SerializationError) as caught:
        codec.decode_arguments(*raw)
    assert "since: Input should be a valid datetime" in str(caught.value)
    assert "; aliased: Input should be a valid integer" in str(caught.value)
    assert "S3CR3T" not in full_traceback(caught.value)


def test_pydantic_is_not_imported_for_those_who_do_not_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pydantic")
    assert carried(one(set[int]), {1}) == (({1},), {})
    with pytest.raises(SerializationError, match="a Cat can't be sent"):
        carried(one(Any), Cat(kind="cat"))
    assert "pydantic" not in sys.modules


@pytest.mark.parametrize("hint", [Any, T, "value", list, object], ids=repr)
@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ([1, "a", None, 2.5, True], [1, "a", None, 2.5, True]),
        ((1, [2]), [1, [2]]),
        ([{"a": Point(1, 2)}], [{"a": [1, 2]}]),
        ([date(2026, 11, 23), UUID(int=1), b"\xff", Colour.RED], ["2026-11-23", str(UUID(int=1)), "/w==", "red"]),
        ([{1: Line("a", Decimal("1.0"))}], [{"1": {"item": "a", "price": "1.0"}}]),
        ([Cat(kind="cat")], [{"kind": "cat"}]),
    ],
    ids=repr,
)
def test_without_a_telling_annotation_plain_json_arrives(sent: Any, arrives: Any, hint: Any) -> None:
    if hint == "value":
        task: Callable[..., Any] = lambda value: value  # noqa: E731  not annotated
    else:
        task = one(hint)
    assert carried(task, sent) == ((arrives,), {})


class Name(str):
    __slots__ = ()


class Count(int):
    pass


class Ratio(float):
    pass


class Blob(bytes):
    pass


class Moment(datetime):
    pass


class Span(timedelta):
    pass


class Money(Decimal):
    pass


@pytest.mark.parametrize(
    ("value", "hint", "arrives"),
    [
        (Name("a"), str, "a"),
        (Name("a"), Name, Name("a")),
        (Count(5), int, 5),
        (Count(5), Count, Count(5)),
        (Ratio(0.5), Ratio | None, Ratio(0.5)),
        (Blob(b"\xff"), bytes, b"\xff"),
        (Moment(2026, 11, 23, 5, tzinfo=UTC), datetime, datetime(2026, 11, 23, 5, tzinfo=UTC)),
        (Span(days=1, microseconds=3), timedelta, timedelta(days=1, microseconds=3)),
        (Money("1.10"), Decimal, Decimal("1.10")),
    ],
    ids=repr,
)
def test_a_subclass_is_sent_as_what_it_is_at_heart(value: Any, hint: Any, arrives: Any) -> None:
    (found,), _ = carried(one(hint), value)
    assert type(found) is type(arrives)
    assert found == arrives


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)


@given(st.lists(json_values), st.dictionaries(st.text(), json_values))
def test_all_plain_json_arrives_as_it_was_sent(args: list[Any], kwargs: dict[str, Any]) -> None:
    def task(*args, **kwargs): ...

    assert carried(task, *args, **kwargs) == (tuple(args), kwargs)


typed = {
    datetime: st.datetimes(timezones=st.none() | st.just(UTC)),
    date: st.dates(),
    time: st.times(),
    timedelta: st.timedeltas(),
    Decimal: st.decimals(allow_nan=False),
    bytes: st.binary(),
    UUID: st.uuids(),
    set[int]: st.sets(st.integers()),
    tuple[int, ...]: st.lists(st.integers()).map(tuple),
    dict[int, float]: st.dictionaries(st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False)),
    Line: st.builds(Line, item=st.text(), price=st.decimals(allow_nan=False)),
    Invoice: st.builds(Invoice, lines=st.lists(st.builds(Line, price=st.decimals(allow_nan=False)))),
}


@given(st.data(), st.sampled_from(list(typed)))
def test_every_value_of_a_type_arrives_as_it_was_sent(data: st.DataObject, hint: Any) -> None:
    assert same(data.draw(typed[hint]), hint)


# --- what is not taken in silence


@pytest.mark.parametrize(
    ("sent", "hint", "said"),
    [
        ("5", int, "Expected `int`, got `str`"),
        (5, str, "Expected `str`, got `int`"),
        (True, int, "Expected `int`, got `bool`"),
        (1.5, int, "Expected `int`, got `float`"),
        ([1, "2"], list[int], "Expected `int`, got `str` - at `$[1]`"),
        ({"number": "7"}, Invoice, "Expected `int`, got `str` - at `$.number`"),
        ({}, Invoice, "missing required field `number`"),
        ("blue", Colour, "Invalid enum value; "),
        ({"kind": "bird"}, Cat, "Input should be 'cat'"),
        ({"kind": "bird"}, Cat | Dog, "Input should be 'cat'"),
        ("long", Annotated[str, msgspec.Meta(max_length=3)], "length <= 3"),
        ("x", socket.socket, "a socket can't be made from JSON"),
        ("x", Count, "a Count can't be made from JSON"),
        ([], Callable[..., Any], "can't be made from JSON"),
    ],
    ids=repr,
)
def test_a_value_of_another_type_fails_in_the_worker_and_names_the_parameter(sent: Any, hint: Any, said: str) -> None:
    codec = Codec(one(hint))
    raw = codec.encode_arguments((sent,), {})
    with pytest.raises(SerializationError) as caught:
        codec.decode_arguments(*raw)
    assert str(caught.value).startswith("task: the argument 'value' does not fit: ")
    assert said in str(caught.value)
    by_name = codec.encode_arguments((), {"value": sent})
    with pytest.raises(SerializationError, match="the argument 'value' does not fit"):
        codec.decode_arguments(*by_name)
    with pytest.raises(SerializationError, match=r"the result of task\(\) does not fit its return annotation"):
        codec.decode_result(codec.encode_result(sent))


def nested(depth: int, *, of: type[list[Any] | dict[str, Any]] = list) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if of is list else {"a": value}
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Grumpy(pydantic.BaseModel):
    @pydantic.model_serializer
    def refuse(self) -> Any:
        raise LookupError("never mind")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (socket.socket, "a type"),
        (object(), "an object"),
        (lambda: 0, "a function"),
        ({"a": [1j]}, "a complex"),
        (Invoice(1, [object()]), "an object"),  # pyright: ignore[reportArgumentType]
        (math.nan, "a float that is NaN or infinite"),
        ([None, {"a": -math.inf}], "a float that is NaN or infinite"),
        ({"a": (None, {"b": [math.inf]})}, "a float that is NaN or infinite"),
        (Ratio("nan"), "a float that is NaN or infinite"),
        (Sale("x", math.nan), "a float that is NaN or infinite"),  # pyright: ignore[reportArgumentType]
        ("\ud800", r"text with a lone surrogate ('\ud800')"),
        ({"a\udfff": 1}, r"text with a lone surrogate ('\udfff')"),
        (cyclic(), "a value that holds itself, or more than 64 lists and objects inside each other,"),
        (nested(65), "a value that holds itself, or more than 64 lists and objects inside each other,"),
        (nested(65, of=dict), "a value that holds itself, or more than 64 lists and objects inside each other,"),
        (nested(100_000), "a value that holds itself, or more than 64 lists and objects inside each other,"),
        ({(1, 2): 3}, "a dict with a key of type tuple"),
        ([{True: 3}], "a dict with a key of type bool"),
        ({None: 3}, "a dict with a key of type NoneType"),
        (10**5000, "a value ("),
        (Grumpy(), "a value ("),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_json_cannot_carry_is_refused_with_task_parameter_and_type(value: Any, what: str) -> None:
    def greet(name: Any, *rest: Any, **more: Any) -> Any: ...

    codec = Codec(greet)
    for args, kwargs, where in [
        ((value,), {}, "name"),
        ((1, 2, value), {}, "rest"),
        ((1,), {"other": 1, "more": value}, "more"),
    ]:
        with pytest.raises(SerializationError) as caught:
            codec.encode_arguments(args, kwargs)
        assert str(caught.value).startswith(f"greet({where}=...): {what}")
        assert str(caught.value).endswith("can't be sent to a worker; pass an id or path and open it in the task")
    with pytest.raises(SerializationError) as caught:
        codec.encode_result(value)
    assert str(caught.value).startswith(f"greet() returned {what}")
    assert "return plain data" in str(caught.value)


def test_a_name_that_json_cannot_carry_is_refused() -> None:
    with pytest.raises(SerializationError, match=r"^anything\(\.\.\.\): text with a lone surrogate .* can't be sent"):
        Codec(anything).encode_arguments((1,), {"\ud800": 1})


def test_a_socket_is_refused_in_the_words_that_were_promised() -> None:
    def greet(name: str) -> None: ...

    with socket.socket() as connection, pytest.raises(SerializationError) as caught:
        Codec(greet).encode_arguments((connection,), {})
    assert str(caught.value) == (
        "greet(name=...): a socket can't be sent to a worker; pass an id or path and open it in the task"
    )


def test_a_model_that_holds_nan_is_refused() -> None:
    class Reading(pydantic.BaseModel):
        value: float

    with pytest.raises(SerializationError, match="NaN or infinite"):
        Codec(one(Any)).encode_arguments((Reading(value=math.nan),), {})


@pytest.mark.parametrize("value", [None, "null", [None, 1.5], {"null": [None]}, Invoice(1), Cat(kind="cat")], ids=repr)
def test_a_null_that_is_meant_is_sent(value: Any) -> None:
    assert b"null" in Codec(one(Any)).encode_result([value, None])


@pytest.mark.parametrize("of", [list, dict])
def test_64_lists_or_objects_may_be_inside_each_other(of: Any) -> None:
    value = nested(64, of=of)
    assert carried(one(Any), value) == ((value,), {})
    assert carried(one(Any), value=value) == ((), {"value": value})
    codec = Codec(one(Any))
    assert codec.decode_result(codec.encode_result(value)) == value


def test_what_is_wide_or_full_of_brackets_is_not_deep() -> None:
    value = [[[]] * 1_000, "[" * 1_000, '\\"' + "{[" * 1_000, {"[[": [{}] * 100}]
    assert carried(one(Any), value) == ((value,), {})


@given(json_values)
def test_depth_is_counted_as_a_person_would(value: Any) -> None:
    def deep(value: Any) -> int:
        if isinstance(value, dict):
            return 1 + max(map(deep, value.values()), default=0)
        return 1 + max(map(deep, value), default=0) if isinstance(value, list) else 0

    raw = msgspec.json.encode(value)
    assert not plain.is_deeper(raw, deep(value))
    assert not deep(value) or plain.is_deeper(raw, deep(value) - 1)


@pytest.mark.parametrize("length", [10, 65_530, 65_536, 65_537, 200_000])
def test_brackets_in_text_of_any_length_are_no_depth(length: int):
    raw = plain.encode([["[" * length, ['"' * length, "]" * length], "[{" * 100]])
    assert not plain.is_deeper(raw, 3)
    assert plain.is_deeper(raw, 2)


@given(st.lists(st.tuples(st.integers(1, 70), st.integers(1, 5)), min_size=1, max_size=20))
def test_the_deepest_of_many_branches_counts_wherever_it_stands(branches: list[tuple[int, int]]) -> None:
    raw = plain.encode([[nested(depth)] * times for depth, times in branches], within=10)
    most = max(depth for depth, _ in branches) + 2
    assert (plain.is_deeper(raw, most), plain.is_deeper(raw, most - 1)) == (False, True)


@pytest.mark.parametrize("raw", [b"[[]" * 20, b"[]]" * 40, b"[[]" * 21])
def test_what_is_open_at_the_end_is_deeper_than_allowed(raw: bytes) -> None:
    assert plain.is_deeper(raw, 30)


def test_the_depth_of_a_mebibyte_of_brackets_is_soon_known() -> None:
    raw = msgspec.json.encode([nested(50)] * 9_000)
    took: list[float] = []
    for _ in range(3):
        began = process_time()
        assert not plain.is_deeper(raw, 64)
        took.append(process_time() - began)
    assert min(took) < 0.1  # with one pass for each of fifty levels it took 0.2 s


# --- calls


def plain_task(name, age=3): ...
def only_by_place(name, /, age): ...
def only_by_name(name, *, age): ...
def anything(name, *rest, **more): ...
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
