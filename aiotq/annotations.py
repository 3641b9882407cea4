"""The types that a function's parameters and result are annotated with."""

from __future__ import annotations

import inspect
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ParamSpecArgs, ParamSpecKwargs, TypeVar, Unpack, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from inspect import Signature

WITHIN = ".<locals>."


def local_names(function: Callable[..., Any], signature: Signature) -> dict[str, Any]:
    """What the annotations of a function that is just being defined inside another one mean by their names there.

    A string annotation (`from __future__ import annotations`) can't reach the locals of the enclosing function once
    that has returned: so those that it names, and no others, are looked up while the enclosing function runs.
    """
    inner = inspect.unwrap(function)
    outer = inner.__qualname__.rpartition(WITHIN)[0]
    wanted = {name for text in _annotations(signature).values() if isinstance(text, str) for name in _names(text)}
    found: dict[str, Any] = {}
    frame = inspect.currentframe()
    while frame is not None and outer:
        if frame.f_code.co_qualname == outer and frame.f_code.co_filename == inner.__code__.co_filename:
            found = {name: frame.f_locals[name] for name in wanted if name in frame.f_locals} | found
            outer = outer.rpartition(WITHIN)[0]
        frame = frame.f_back
    return found


def resolved(
    function: Callable[..., Any], signature: Signature, local: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The types by parameter (and "return"), and for each that can't be resolved the reason.

    Left out: what says nothing of the values, as Any, a TypeVar or *args: P.args. A default of None allows None.
    """
    inner: Any = inspect.unwrap(function)
    parameters: dict[str, Any] = {parameter.__name__: parameter for parameter in getattr(inner, "__type_params__", ())}
    names = {**parameters, **_closed_over(inner), **local}
    hints: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for name, annotation in _annotations(signature).items():
        holder = SimpleNamespace(__annotations__={name: annotation})
        try:
            hint = get_type_hints(holder, inner.__globals__, names, include_extras=True)[name]
        except Exception as error:  # noqa: BLE001  a string annotation is code of the user's: it may raise anything
            reasons[name] = f"{type(error).__name__}: {error}"
            continue
        if not (
            hint is Any or isinstance(hint, TypeVar | ParamSpecArgs | ParamSpecKwargs) or get_origin(hint) is Unpack
        ):
            parameter = signature.parameters.get(name)
            hints[name] = hint | None if parameter is not None and parameter.default is None else hint
    return hints, reasons


def _closed_over(function: Any) -> dict[str, Any]:
    """What a function has from those around it; not what they set only later (`inspect.getclosurevars` raises then)."""
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # the cell is empty yet
            found[name] = cell.cell_contents
    return found


def _annotations(signature: Signature) -> dict[str, Any]:
    found = {p.name: p.annotation for p in signature.parameters.values() if p.annotation is not p.empty}
    if signature.return_annotation is not signature.empty:
        found["return"] = signature.return_annotation
    return found


def _names(text: str) -> tuple[str, ...]:
    try:
        return compile(text, "<annotation>", "eval").co_names
    except SyntaxError:  # `resolved` says so
        return ()
