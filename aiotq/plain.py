"""Single values to JSON and back, beyond what msgspec does by itself.

Added: pydantic models, subclasses of what JSON or msgspec knows; refused: what would arrive as something else in
silence (NaN, infinity), or could not be read back (lone surrogates, lists and objects more than 64 deep).
"""

from __future__ import annotations

import math
import re
import sys
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import accumulate, islice
from operator import add
from typing import TYPE_CHECKING, Any, cast, get_args
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_DEPTH = 64  # lists and objects inside each other


class _RefusedError(Exception):
    """A value that JSON can't carry; its text says what it is."""


# --- to JSON ----------------------------------------------------------------------------------------------------


def encode(value: Any, *, within: int = 0) -> bytes:
    """JSON of a value. within: how many lists or objects around the values do not count for their depth.

    Raises whatever msgspec or the value's own class raises; `refusal` puts it in words. Cost: msgspec's, and where the
    JSON holds a null or more than 64 brackets a second pass (about twice the time).
    """
    if value is None:
        return b"null"
    raw = _encoder.encode(value)
    # JSON has no NaN and no infinity: msgspec writes null. So where there is a null, and only there, one has to look.
    if b"null" in raw and not _is_finite(msgspec.to_builtins(value, enc_hook=_to_json)):
        raise _RefusedError("a float that is NaN or infinite")
    if len(raw) > 2 * MAX_DEPTH and is_deeper(raw, MAX_DEPTH + within):
        raise RecursionError
    return raw


def outgrown(values: Iterable[object], limit: int) -> int:
    """0 if the JSON of some values may take less than four times `limit` bytes; else more, and at most what it takes.

    A look at plain data before it is encoded: a hundred megabytes are to be refused in no time and no memory. It is
    given up where that would cost as much as to encode it: at own classes, and after 64 items that are small.
    """
    far = 4 * limit
    for value in values:
        if isinstance(value, str):
            if len(value) <= far:
                continue
        elif type(value) in _FLAT:
            continue
        size = _least_size(value, far)
        if size > far:
            return size
    return 0


_FLAT = frozenset({int, float, bool, type(None)})
_LOOK_AT = 64  # items, and further ones while they are of 32 bytes or more each
_ONE_SAYS = 4096  # bytes at most for this: a list of a million says nothing of how large each of them is


def _least_size(value: Any, limit: int) -> int:
    """Of plain data and what it holds: no more than its JSON takes, counted until that is more than `limit`."""
    size, seen, looked, waiting = 0, 0, 0, [value]
    while waiting and size <= limit and (looked < _LOOK_AT or seen > 32 * looked):
        looked += 1
        item = waiting.pop()
        if isinstance(item, str | bytes | bytearray):
            size += 2 + len(item)
            seen += min(2 + len(item), _ONE_SAYS)
            continue
        size += 1
        if isinstance(item, dict):
            entries = cast("dict[Any, Any]", item)
            inner, least, each = _both(entries), 5 * len(entries), 2  # "":0, of which : and , are its own
        elif isinstance(item, list | tuple | set | frozenset):
            inner = cast("list[Any]", item)
            least, each = 2 * len(inner), 1  # 0,
        else:
            continue
        if size + least > limit:
            return size + least
        size += each * len(cast("list[Any]", item))
        seen += min(least, _ONE_SAYS)
        waiting.extend(islice(inner, limit // 32))
    return size


def _both(item: dict[Any, Any]) -> Iterator[Any]:
    for key, value in item.items():
        yield key
        yield value


def refusal(error: Exception) -> str:
    """What `encode` refused, in a few words: "a socket"."""
    if isinstance(error, RecursionError):
        return f"a value that holds itself, or more than {MAX_DEPTH} lists and objects inside each other,"
    if isinstance(error, UnicodeEncodeError):
        return f"text with a lone surrogate ({error.object[error.start]!r})"
    return str(error) if isinstance(error, _RefusedError) else f"a value ({error})"


def without_value(error: Exception) -> str:
    """What a decoder says of a value that does not fit, without the value: msgspec names that of an enum or a tag."""
    return _NAMED_VALUE.sub(r"\1", str(error))


_NAMED_VALUE = re.compile(r"(Invalid (?:enum )?value) (?:'.*'|-?\d+)", re.DOTALL)


def is_deeper(raw: bytes, limit: int) -> bool:
    """Whether more than `limit` lists and objects are inside each other in what should be JSON. It is not parsed.

    Cost: 1 ns a byte, if it has more brackets than `limit`, and 30 ns a bracket at most.
    """
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return False
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = raw.translate(_ONE_KIND, _NO_BRACKET).replace(b'""', b"")
    if b'"' in brackets:  # some text holds brackets
        brackets = _outside_text(brackets)
    if b"[" * (limit + 1) in brackets:  # as nearly all that is: found at once
        return True
    brackets = brackets.replace(b"[]", b"")  # the innermost ones of each branch: of most values these are nearly all
    return bool(brackets) and (len(brackets) % 2 == 1 or _depth(brackets) >= limit)


def _depth(brackets: bytes) -> float:
    """Of an even number of brackets, and nothing else. They are counted in eights, each by a look at a table."""
    brackets += b"[]" * (-len(brackets) % 8 // 2)
    eights = int(brackets.translate(_BITS), 2).to_bytes(len(brackets) // 8)
    before = list(accumulate(memoryview(eights.translate(_RISE)).cast("b"), initial=0))
    if before[-1]:
        return math.inf  # one has no other: it is no JSON
    return max(map(add, before, eights.translate(_MOST)))


_BITS = bytes.maketrans(b"[]", b"10")
_DEPTHS = [list(accumulate((1 if eight >> bit & 1 else -1) for bit in range(7, -1, -1))) for eight in range(256)]
_RISE = bytes(depths[-1] % 256 for depths in _DEPTHS)
_MOST = bytes(max(0, *depths) for depths in _DEPTHS)


def _outside_text(brackets: bytes) -> bytes:
    """What does not stand between quotes. In pieces: one of half a million quotes would take 25 MB."""
    outside, inside = bytearray(), False
    for at in range(0, len(brackets), 1 << 16):
        parts = brackets[at : at + (1 << 16)].split(b'"')
        outside += b"".join(parts[inside::2])
        inside ^= len(parts) % 2 == 0
    return bytes(outside)


_NO_BRACKET = bytes(set(range(256)) - set(b'[]{}"'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def _to_json(value: Any) -> Any:
    """What msgspec asks for a type it does not know."""
    cls = value.__class__
    if _is_model(cls):
        return value.model_dump(mode="json", round_trip=True, by_alias=not _validated_by_name())
    if cls in _ONLY_AS_VALUES:
        raise _RefusedError(f"a dict with a key of type {cls.__name__}")
    # Subclasses (markupsafe's str, numpy's float64, a frozen clock's datetime) are sent as what they are at heart.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    for plain in _PLAIN:
        if isinstance(value, plain):
            return plain.__add__(value, plain())
    raise _RefusedError(f"{'an' if cls.__name__[0] in 'AEIOUaeiou' else 'a'} {cls.__name__}")


_ONLY_AS_VALUES = {bool, type(None), tuple, frozenset}  # msgspec knows them itself, but not as keys
_PLAIN: tuple[Any, ...] = (int, float, bytes, timedelta)
_encoder = msgspec.json.Encoder(enc_hook=_to_json)


def _is_finite(value: Any) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return False
        elif isinstance(item, dict):
            waiting.extend(cast("dict[Any, Any]", item).values())
        elif isinstance(item, list | tuple):
            waiting.extend(cast("list[Any]", item))
    return True


# --- from JSON --------------------------------------------------------------------------------------------------


def decoder(hint: Any) -> Callable[[bytes | msgspec.Raw], Any]:
    """What makes a value of the annotated type from JSON. Raises what msgspec raises if it knows no way."""
    try:
        return msgspec.json.Decoder(hint, dec_hook=_from_json).decode
    except TypeError:
        # A union of models: only pydantic can tell them apart.
        if not any(_is_model(part) for part in _parts(hint)):
            raise
    adapter = sys.modules["pydantic"].TypeAdapter(hint)
    return lambda raw: _validated(adapter.validate_json, bytes(raw))


def _parts(hint: Any) -> list[Any]:
    return [hint, *(inner for part in get_args(hint) for inner in _parts(part))]


def _from_json(cls: Any, value: Any) -> Any:
    """What msgspec asks for a type it does not know."""
    if _is_model(cls):
        return _validated(cls.model_validate_json, msgspec.json.encode(value))
    if isinstance(cls, type):
        if isinstance(value, cls):
            return value
        if isinstance(value, str | int | float) and issubclass(cls, type(value)):
            return cast("Callable[[Any], Any]", cls)(value)
    raise TypeError(f"a {getattr(cls, '__name__', cls)} can't be made from JSON")


def _validated_by_name() -> dict[str, bool]:
    """How pydantic is told to take fields by their names: an alias may differ by direction. Not before its 2.11."""
    version = tuple(map(int, sys.modules["pydantic"].VERSION.split(".")[:2]))
    return {"by_alias": False, "by_name": True} if version >= (2, 11) else {}


def _validated(validate: Callable[..., Any], raw: bytes) -> Any:
    """What pydantic makes of some JSON. Its error is told without the input: arguments are for no log."""
    try:
        return validate(raw, **_validated_by_name())
    except sys.modules["pydantic"].ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)
    raise ValueError("; ".join(": ".join([*map(str, one["loc"]), one["msg"]]) for one in told))


def _is_model(cls: Any) -> bool:
    """Whether it is a class of pydantic's; that is looked at only if something else has imported it."""
    model = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return model is not None and isinstance(cls, type) and issubclass(cls, model)
