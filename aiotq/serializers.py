"""Arguments and results as JSON, and back as the types that the task's annotations name.

Values are encoded as what they are: JSON's own types, dataclasses, msgspec Structs, TypedDict, NamedTuple, Enum, UUID,
datetime and its kin, Decimal, bytes, set, tuple, and pydantic models. The annotation decides what arrives; without one
(or with Any) it is plain JSON: a set as a list, a datetime as its text. Nothing is converted in silence to something
that the annotation does not allow: an `int` takes no "5".
"""

from __future__ import annotations

import inspect
import logging
import math
import re
import sys
from functools import cached_property
from inspect import Parameter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw

from aiotq.annotations import local_names, resolved
from aiotq.errors import SerializationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Json = bytes | Raw
    Decode = Callable[[Json], Any]

MAX_DEPTH = 64  # lists and objects inside each other

log = logging.getLogger("aiotq")


class Codec:
    """What a task's function takes and returns, as JSON. Made at decoration; annotations are resolved at first use."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._label = function.__name__
        self._signature = inspect.signature(function)
        self._local = local_names(function)
        parameters = tuple(self._signature.parameters.values())
        places = [p for p in parameters if p.kind in {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}]
        self._places = tuple(p.name for p in places)
        self._keywords = frozenset(
            p.name for p in parameters if p.kind in {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}
        )
        self._rest = next((p.name for p in parameters if p.kind is Parameter.VAR_POSITIONAL), None)
        self._extra = next((p.name for p in parameters if p.kind is Parameter.VAR_KEYWORD), None)
        # A call with this many positional arguments and no other needs no further look.
        self._least = sum(p.default is Parameter.empty for p in places)
        self._most = sys.maxsize if self._rest else len(places)
        if any(p.kind is Parameter.KEYWORD_ONLY and p.default is Parameter.empty for p in parameters):
            self._least = sys.maxsize

    # --- the caller's side

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, if the function could be called with them. Raises TypeError as the call would."""
        if kwargs or not self._least <= len(args) <= self._most:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self._label}() {error}") from None
        return args, kwargs

    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        """A JSON array and a JSON object. Raises SerializationError that names the parameter and what to do.

        Raises UsageError if an annotation allows types that look the same in JSON.
        """
        _ = self._decoders
        try:
            return _encode(args) if args else b"[]", _encode(kwargs) if kwargs else b"{}"
        except Exception as error:  # noqa: BLE001  a value's own class may raise anything
            raise self._refusal(args, kwargs, error) from None

    def decode_result(self, raw: Json) -> Any:
        """A result as the return annotation says. Raises SerializationError if it does not fit."""
        try:
            return self._decode_result(raw)
        except Exception as error:  # noqa: BLE001  a type's own code may raise anything
            raise SerializationError(
                f"the result of {self._label}() does not fit its return annotation: {error}; "
                "annotate what it returns, or read it with .info()"
            ) from error

    # --- the worker's side

    def decode_arguments(self, args_raw: Json, kwargs_raw: Json) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the annotations say. Raises SerializationError if they no longer fit the function."""
        try:
            args = self._decode_places(args_raw)
            kwargs = self._decode_keywords(kwargs_raw)
            return self.bind(args, kwargs)
        except SerializationError:
            raise
        except Exception as error:  # noqa: BLE001  a type's own code may raise anything
            raise SerializationError(f"{self._unfit()}: {error}") from error

    def encode_result(self, value: Any) -> bytes:
        """JSON of a result. Raises SerializationError that says what to do."""
        try:
            return _encode(value)
        except Exception as error:  # noqa: BLE001  a value's own class may raise anything
            raise SerializationError(
                f"{self._label}() returned {_why(error)}; return plain data, or an id or path of it"
            ) from error

    # --- decoding

    @cached_property
    def _hints(self) -> dict[str, Any]:
        hints, reasons = resolved(self._function, self._local)
        for name, reason in reasons.items():
            log.warning(
                "%s(): the annotation of %s can't be resolved (%s), so it arrives as plain JSON; "
                "import what it names outside of `if TYPE_CHECKING`",
                self._label,
                "its result" if name == "return" else repr(name),
                reason,
            )
        return hints

    @cached_property
    def _decoders(self) -> dict[str, Decode]:
        """By parameter. Raises UsageError for an annotation that no JSON can be decoded by."""
        decoders: dict[str, Decode] = {}
        for name in self._signature.parameters:
            try:
                decoders[name] = _decoder(self._hints.get(name, Any))
            except TypeError as error:
                raise UsageError(
                    f"{self._label}({name}=...) is annotated with what JSON can't tell apart: {error}; "
                    "annotate it with one type, or with msgspec Structs that have tags"
                ) from None
        return decoders

    @cached_property
    def _decode_result(self) -> Decode:
        return _decoder(self._hints.get("return", Any))

    @cached_property
    def _decode_all(self) -> Callable[[Json], tuple[Any, ...]] | None:
        """All positional arguments in one go, by an array-like Struct: half the time of one by one."""
        if self._rest or not self._places:
            return None
        fields = [(f"p{index}", self._hints.get(name, Any), UNSET) for index, name in enumerate(self._places)]
        try:
            model = msgspec.defstruct(self._label, fields, array_like=True, forbid_unknown_fields=True)
            decode = msgspec.json.Decoder(model, dec_hook=_from_json).decode
        except TypeError:
            return None  # one of them needs more than msgspec
        astuple = msgspec.structs.astuple

        def decode_all(raw: Json) -> tuple[Any, ...]:
            values = astuple(decode(raw))
            return values if values[-1] is not UNSET else tuple(value for value in values if value is not UNSET)

        return decode_all

    def _decode_places(self, raw: Json) -> tuple[Any, ...]:
        if self._decode_all is not None:
            try:
                return self._decode_all(raw)
            except Exception:  # noqa: BLE001, S110  one by one, below, so that the error names the parameter
                pass
        items = _raws.decode(raw)
        names = self._places
        if len(items) > len(names) and self._rest is None:
            return tuple(items)  # surplus: bind says so
        return tuple(
            self._decode_one(names[index] if index < len(names) else str(self._rest), item)
            for index, item in enumerate(items)
        )

    def _decode_keywords(self, raw: Json) -> dict[str, Any]:
        return {
            name: self._decode_one(name if name in self._keywords else self._extra, item)
            for name, item in _raw_dict.decode(raw).items()
        }

    def _decode_one(self, name: str | None, raw: Raw) -> Any:
        if name is None:
            return None  # unknown: bind says so
        try:
            return self._decoders[name](raw)
        except UsageError as error:
            raise SerializationError(f"{self._unfit()}: {error}") from error
        except Exception as error:  # noqa: BLE001  a type's own code may raise anything
            raise SerializationError(f"{self._unfit(name)}: {error}") from error

    def _unfit(self, name: str | None = None) -> str:
        what = "the arguments" if name is None else f"the argument {name!r}"
        return (
            f"{what} of this job do not fit {self._label}() as this worker has it; it was enqueued by another version "
            "or with a value of another type; enqueue it anew, or keep the task able to take it"
        )

    # --- refusing

    def _refusal(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> SerializationError:
        """The error for the one argument that can't be encoded."""
        names = [*self._places[: len(args)], *[str(self._rest)] * (len(args) - len(self._places))]
        for name, value in [*zip(names, args, strict=True), *kwargs.items()]:
            try:
                _encode(value)
            except Exception as found:  # noqa: BLE001  a value's own class may raise anything
                return SerializationError(
                    f"{self._label}({name}=...): {_why(found)} can't be sent to a worker; "
                    "pass an id or path and open it in the task"
                )
        return SerializationError(f"{self._label}(...): {_why(error)} can't be sent to a worker; pass less of it")


# --- values to JSON ---------------------------------------------------------------------------------------------


class _RefusedError(Exception):
    """A value that JSON can't carry; its text says what it is."""


def _to_json(value: Any) -> Any:
    """What msgspec asks for a type it does not know."""
    cls = type(value)
    if _is_model(cls):
        return value.model_dump(mode="json", round_trip=True, by_alias=False)
    # Subclasses of JSON's types (markupsafe's str, numpy's float) are sent as what they are at heart.
    for plain in (str, int, float, bytes):
        if isinstance(value, plain):
            return plain(value)
    raise _RefusedError(f"a {cls.__qualname__ if cls.__module__ == 'builtins' else f'{cls.__module__}.{cls.__qualname__}'}")


_encoder = msgspec.json.Encoder(enc_hook=_to_json)


def _encode(value: Any) -> bytes:
    raw = _encoder.encode(value)
    # JSON has no NaN and no infinity: msgspec writes null. So where there is a null, and only there, one has to look
    # (a second pass: about twice the time for such a value).
    if b"null" in raw and not _is_finite(msgspec.to_builtins(value, enc_hook=_to_json)):
        raise _RefusedError("a float that is NaN or infinite")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and depth(raw) > MAX_DEPTH:
        raise RecursionError
    return raw


def _is_finite(value: Any) -> bool:
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return False
        elif isinstance(item, dict):
            waiting.extend(item.values())  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(item, list | tuple):
            waiting.extend(item)  # pyright: ignore[reportUnknownArgumentType]
    return True


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def depth(raw: bytes) -> int:
    """How deep lists and objects of some JSON are inside each other; not counted beyond MAX_DEPTH + 1."""
    brackets = _STRING.sub(b"", raw).translate(_ONE_KIND, _NO_BRACKET)
    found = 0
    while brackets and found <= MAX_DEPTH:
        brackets = brackets.replace(b"[]", b"")  # the innermost ones of each branch
        found += 1
    return found


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"a value that holds itself, or has more than {MAX_DEPTH} lists and objects inside each other,"
    if isinstance(error, UnicodeEncodeError):
        return f"text that is no valid Unicode (a lone surrogate, {error.object[error.start]!r})"
    return str(error) if isinstance(error, _RefusedError) else f"a value of which its encoder says {str(error)!r}"


# --- JSON to values ---------------------------------------------------------------------------------------------

_raws = msgspec.json.Decoder(list[Raw])
_raw_dict = msgspec.json.Decoder(dict[str, Raw])


def _decoder(hint: Any) -> Decode:
    """Raises TypeError if JSON can't be decoded by the annotation."""
    return msgspec.json.Decoder(hint, dec_hook=_from_json).decode


def _from_json(cls: Any, value: Any) -> Any:
    """What msgspec asks for a type it does not know."""
    if _is_model(cls):
        return cls.model_validate_json(msgspec.json.encode(value), by_alias=False, by_name=True)
    if isinstance(value, cls):
        return value
    if issubclass(cls, str | int | float) and isinstance(value, cls.__mro__[-2]):
        return cls(value)
    raise TypeError(f"a {cls.__qualname__} can't be made from JSON")


def _is_model(cls: Any) -> bool:
    """Whether it is a class of pydantic's, which is only looked at if something else has imported it."""
    model: Any = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return model is not None and isinstance(cls, type) and issubclass(cls, model)
