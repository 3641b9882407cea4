"""Values: what arrives as its type, what does not, and what is refused."""

from __future__ import annotations

import math
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotq.errors import SerializationError
from aiotq.frames import full_traceback
from aiotq.serializers import Codec
from tests.unit.carried import (
    ADA,
    Buyer,
    Cat,
    Colour,
    Dog,
    Invoice,
    Item,
    Line,
    Point,
    Rights,
    Sale,
    Size,
    anything,
    carried,
    json_values,
    nested,
    one,
    same,
)

T = TypeVar("T")

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
