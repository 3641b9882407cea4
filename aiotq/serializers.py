"""Arguments and results as JSON, and back as the types that the task's annotations name.

Values are encoded as what they are: JSON's own types, dataclasses, msgspec Structs, TypedDict, NamedTuple, Enum, UUID,
datetime and its kin, Decimal, bytes, set, tuple, and pydantic models. The annotation decides what arrives; without one
(or with Any) it is plain JSON: a set as a list, a datetime as its text. Nothing becomes in silence what the annotation
does not allow: an `int` takes no "5".
"""

from __future__ import annotations

import inspect
import logging
from functools import cached_property
from inspect import Parameter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw

from aiotq import checks
from aiotq.annotations import local_names, resolved
from aiotq.document import NO_ARGS, NO_KWARGS
from aiotq.errors import SerializationError, UsageError
from aiotq.plain import decoder, encode, refusal, without_value
from aiotq.veil import Veil

if TYPE_CHECKING:
    from collections.abc import Callable

    Json = bytes | Raw

MAX_SHAPES = 256  # ways to call one function that are remembered as right

log = logging.getLogger("aiotq")

_raws = msgspec.json.Decoder(list[Raw])
_raw_dict = msgspec.json.Decoder(dict[str, Raw])


class Codec:
    """What a task's function takes and returns, as JSON. Made at decoration; annotations are resolved at first use."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._label = function.__name__
        self._signature = inspect.signature(function)
        self._local = local_names(function, self._signature)
        self._shapes: set[tuple[int | str, ...]] = set()
        by_kind: dict[Any, list[str]] = {}
        for parameter in self._signature.parameters.values():
            by_kind.setdefault(parameter.kind, []).append(parameter.name)
        places = by_kind.get(Parameter.POSITIONAL_OR_KEYWORD, [])
        self._places = (*by_kind.get(Parameter.POSITIONAL_ONLY, ()), *places)
        self._keywords = frozenset([*places, *by_kind.get(Parameter.KEYWORD_ONLY, ())])
        self._rest = by_kind.get(Parameter.VAR_POSITIONAL, [None])[0]
        self._extra = by_kind.get(Parameter.VAR_KEYWORD, [None])[0]

    # --- the caller's side

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, if the function can be called with them. Raises TypeError as the call would."""
        # Whether a call is right depends on its shape alone: how many by position, and which by name.
        shape = (len(args), *kwargs)
        if shape not in self._shapes:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self._label}() {error}") from None
            if len(self._shapes) < MAX_SHAPES:
                self._shapes.add(shape)
        return args, kwargs

    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        """A JSON array and a JSON object. Raises SerializationError that names the parameter and what to do.

        Raises UsageError if an annotation is of no use: the worker could not decode by it.
        """
        _ = self._decoders
        try:
            return encode(args, within=1) if args else b"[]", encode(kwargs, within=1) if kwargs else b"{}"
        except Exception as error:
            raise self._refused(args, kwargs, error) from error

    def veil(self, names: frozenset[str]) -> Veil:
        """What keeps the values of these parameters out of what people read. Raises UsageError for one it has not."""
        known = (*self._places, *sorted(self._keywords.difference(self._places)), self._rest, self._extra)
        for name in sorted(names.difference(known)):
            if self._extra is None:
                raise UsageError(
                    f"sensitive={checks.shown(name)} is no parameter of {self._label}(); "
                    f"pass names of its own: {', '.join(filter(None, known)) or 'it has none'}"
                )
        return Veil(names, places=self._places, rest=self._rest, extra=self._extra)

    def decode_result(self, raw: Json) -> Any:
        """A result as the return annotation says. Raises SerializationError if it does not fit."""
        try:
            return self._decode_result(raw)
        except Exception as error:
            raise SerializationError(
                f"the result of {self._label}() does not fit its return annotation: {error}; "
                "annotate what it returns, or read the plain value with .info()"
            ) from error

    # --- the worker's side

    def decode_arguments(self, args_raw: Json, kwargs_raw: Json) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the annotations say. Raises SerializationError if they no longer fit the function."""
        try:
            args = () if args_raw is NO_ARGS else self._decode_places(args_raw)
            kwargs = {} if kwargs_raw is NO_KWARGS else self._decode_keywords(kwargs_raw)
            return self.bind(args, kwargs)
        except SerializationError:
            raise
        except Exception as error:  # noqa: BLE001  it is raised again, without what it says of a value
            raise self._unfit("the arguments do not fit", error) from None

    def encode_result(self, value: Any) -> bytes:
        """JSON of a result. Raises SerializationError that says what to do."""
        try:
            return encode(value)
        except Exception as error:
            raise SerializationError(
                f"{self._label}() returned {refusal(error)}, which JSON can't carry; "
                "return plain data, or an id or path of where it is"
            ) from error

    # --- whoever has text alone

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of those that can be passed by name."""
        return tuple(name for name in self._signature.parameters if name in self._keywords)

    def takes(self, parameter: str, raw: Json) -> str | None:
        """Why a value can't be passed by that name; None if it can. Raises UsageError as `encode_arguments` does."""
        name = parameter if parameter in self._keywords else self._extra
        try:
            self._decode_one(name, Raw(raw))
        except SerializationError as error:
            return without_value(error.__context__) if isinstance(error.__context__, Exception) else str(error)
        return None

    def takes_text_alone(self, parameter: str) -> bool:
        """Whether the annotation of that parameter is `str`."""
        return self._hints.get(parameter if parameter in self._keywords else self._extra or "") is str

    # --- decoding

    @cached_property
    def _hints(self) -> dict[str, Any]:
        hints, reasons = resolved(self._function, self._signature, self._local)
        for name, reason in reasons.items():
            log.warning(
                "%s: the annotation of %s can't be resolved (%s), so it arrives as plain JSON; "
                "import or define what it names at module level, not under `if TYPE_CHECKING`",
                self._label,
                "the result" if name == "return" else repr(name),
                reason,
            )
        return hints

    @cached_property
    def _decoders(self) -> dict[str, Callable[[Json], Any]]:
        """By parameter. Raises UsageError for an annotation that nothing can be decoded by."""
        decoders: dict[str, Callable[[Json], Any]] = {}
        for name in self._signature.parameters:
            try:
                decoders[name] = decoder(self._hints.get(name, Any))
            except Exception as error:
                raise UsageError(
                    f"{self._label}({name}=...): its annotation can't be decoded by: {error}; annotate it with one "
                    "type that JSON can tell from all others it allows, or with msgspec Structs that have tags"
                ) from error
        return decoders

    @cached_property
    def _decode_result(self) -> Callable[[Json], Any]:
        return decoder(self._hints.get("return", Any))

    @cached_property
    def _decode_all(self) -> Callable[[Json], Any]:
        """All positional arguments at once, by an array-like Struct: half the time of one by one.

        It raises for whatever it is not made for: then they are decoded one by one.
        """
        fields = [(f"p{index}", self._hints.get(name, Any), UNSET) for index, name in enumerate(self._places)]
        try:
            struct = msgspec.defstruct("Places", fields, array_like=True, forbid_unknown_fields=True)
            return decoder(struct)
        except Exception:  # noqa: BLE001  one of them needs more than msgspec
            return _one_by_one

    def _decode_places(self, raw: Json) -> tuple[Any, ...]:
        try:
            args = msgspec.structs.astuple(self._decode_all(raw))
        except Exception:  # noqa: BLE001  whatever is wrong is found below, with the parameter's name
            return self._decode_each(raw)
        return tuple([value for value in args if value is not UNSET]) if args and args[-1] is UNSET else args

    def _decode_each(self, raw: Json) -> tuple[Any, ...]:
        items = _raws.decode(raw)
        names = [*self._places, *[self._rest] * (len(items) - len(self._places))]
        return tuple(self._decode_one(name, item) for name, item in zip(names, items, strict=False))

    def _decode_keywords(self, raw: Json) -> dict[str, Any]:
        return {
            name: self._decode_one(name if name in self._keywords else self._extra, item)
            for name, item in _raw_dict.decode(raw).items()
        }

    def _decode_one(self, parameter: str | None, raw: Raw) -> Any:
        if parameter is None:
            return None  # surplus or unknown: `bind` says so
        decode = self._decoders[parameter]
        try:
            return decode(raw)
        except Exception as error:  # noqa: BLE001  ... likewise
            raise self._unfit(f"the argument {parameter!r} does not fit", error) from None

    # --- refusing

    def _unfit(self, what: str, error: Exception) -> SerializationError:
        """It says nothing of the value, and so it has no cause: arguments are for no log."""
        return SerializationError(
            f"{self._label}: {what}: {without_value(error)}; the job is of another version of the task, or its "
            "caller passed another type than the annotation's; enqueue it anew, or let the task take both"
        )

    def _refused(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> SerializationError:
        """The error for the argument that can't be encoded."""
        names = [*self._places, *[self._rest] * (len(args) - len(self._places))]
        for name, value in [*zip(names, args, strict=False), *kwargs.items()]:
            try:
                encode(value)
            except Exception as found:  # noqa: BLE001  a value's own class may raise anything
                where, error = f"{name}=...", found
                break
        else:
            where = "..."
        return SerializationError(
            f"{self._label}({where}): {refusal(error)} can't be sent to a worker; "
            "pass an id or path and open it in the task"
        )


def _one_by_one(_: Json) -> Any:
    raise TypeError("the arguments have to be decoded one by one")
