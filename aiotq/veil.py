"""Keeps the values of some of a task's arguments out of what people read: `@app.task(sensitive={"password"})`.

The names are the function's parameters. What is stored of a job's arguments is as ever: the job needs them.
"""

from __future__ import annotations

import base64
import binascii
import json
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import Raw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MASK = "***"
LEAST = 3  # characters: shorter values are not looked for in a text, which would become unreadable

_array = msgspec.json.Decoder(list[Raw])
_object = msgspec.json.Decoder(dict[str, Raw])


class Veil:
    """Of one task."""

    def __init__(self, names: frozenset[str], *, places: Sequence[str], rest: str | None, extra: str | None) -> None:
        """places: the positional parameters; rest, extra: the names of `*args` and `**kwargs`, if it takes them."""
        self._names, self._places, self._rest, self._extra = names, tuple(places), rest, extra

    def arguments(self, args: bytes | Raw, kwargs: bytes | Raw) -> str:
        """Arguments, a JSON array and object, as text: each value that must not be read is a mask."""
        try:
            placed = [MASK if hidden else _text(value) for hidden, value in self._placed(args)]
            named = [f"{json.dumps(name)}:{MASK if hidden else _text(v)}" for name, hidden, v in self._named(kwargs)]
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return f"{MASK} (they don't decode)"
        return f"[{','.join(placed)}] {{{','.join(named)}}}"

    def masked(self, args: bytes | Raw, kwargs: bytes | Raw) -> tuple[list[Any], dict[str, Any]]:
        """Arguments as plain values: each that must not be read is a mask. Raises what msgspec does for no JSON."""
        placed = [MASK if hidden else msgspec.json.decode(value) for hidden, value in self._placed(args)]
        named = {name: MASK if hidden else msgspec.json.decode(v) for name, hidden, v in self._named(kwargs)}
        return placed, named

    def masked_json(self, args: bytes | Raw, kwargs: bytes | Raw, *, at_most: int) -> tuple[bytes, bytes]:
        """The same as JSON, without decoding any value. at_most: how many there shall be, by place and by name."""
        mask = msgspec.json.encode(MASK)
        placed = [mask if hidden else bytes(value) for hidden, value in islice(self._placed(args), at_most)]
        named = [
            b"%b:%b" % (msgspec.json.encode(name), mask if hidden else bytes(value))
            for name, hidden, value in islice(self._named(kwargs), at_most)
        ]
        return b"[%b]" % b",".join(placed), b"{%b}" % b",".join(named)

    def text(self, text: str, args: bytes | Raw, kwargs: bytes | Raw) -> str:
        """A text with a mask in place of each value that must not be read, in whatever form it can be told by."""
        try:
            hidden = [value for is_hidden, value in self._placed(args) if is_hidden]
            hidden += [value for _, is_hidden, value in self._named(kwargs) if is_hidden]
            forms = {form for value in hidden for leaf in _leaves(msgspec.json.decode(value)) for form in _forms(leaf)}
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return f"{MASK} (the arguments don't decode)"
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, MASK)
        return text

    def _placed(self, args: bytes | Raw) -> Iterator[tuple[bool, Raw]]:
        for index, value in enumerate(_array.decode(args)):
            name = self._places[index] if index < len(self._places) else self._rest
            yield name in self._names, value

    def _named(self, kwargs: bytes | Raw) -> Iterator[tuple[str, bool, Raw]]:
        for name, value in _object.decode(kwargs).items():
            owner = name if name in self._places or self._extra is None else self._extra
            yield name, name in self._names or owner in self._names, value


def _text(value: Raw) -> str:
    return bytes(value).decode(errors="backslashreplace")


def _leaves(value: Any) -> Iterator[Any]:
    """The single values that a value is made of."""
    if isinstance(value, dict):
        for inner in cast("dict[str, Any]", value).values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield value


def _forms(leaf: Any) -> Iterator[str]:
    """How a value may look in a message: itself, quoted by Python or JSON; of bytes, which JSON has as base64, also."""
    texts = [str(leaf), repr(leaf), json.dumps(leaf)]
    if isinstance(leaf, str):
        texts = [leaf, repr(leaf)[1:-1], json.dumps(leaf)[1:-1], json.dumps(leaf, ensure_ascii=False)[1:-1]]
        try:
            plain = base64.b64decode(leaf, validate=True)
            texts += [repr(plain)[2:-1], plain.decode()]
        except (binascii.Error, ValueError):
            pass
    yield from (text for text in texts if len(text) >= LEAST)
