"""Values of many types, and how they are carried from a sender to a worker."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
from hypothesis import strategies as st

from aiotq.serializers import Codec


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


def anything(name, *rest, **more): ...


def nested(depth: int, *, of: type[list[Any] | dict[str, Any]] = list) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if of is list else {"a": value}
    return value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)
