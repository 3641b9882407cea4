"""The types that a function's parameters and result are annotated with, resolved when they are first needed."""

from __future__ import annotations

import inspect
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ParamSpecArgs, ParamSpecKwargs, TypeVar, Unpack, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def local_names(function: Callable[..., Any]) -> Mapping[str, Any]:
    """What the annotations of a function that is being defined inside another one may mean by their names there.

    A string annotation (`from __future__ import annotations`) can't reach the locals of the enclosing function once
    that has returned: so those that it names, and no others, are looked up while the enclosing function runs.
    """
    wanted = {name for text in _texts(function) for name in _names(text)}
    outer, _, _ = function.__qualname__.rpartition(".<locals>.")
    found: dict[str, Any] = {}
    frame = sys._getframe(1)  # noqa: SLF001  the one way to the locals of a function that still runs
    while wanted and outer:
        if frame.f_code.co_filename == function.__code__.co_filename and frame.f_code.co_qualname == outer:
            found.update({name: frame.f_locals[name] for name in wanted if name in frame.f_locals})
            outer, _, _ = outer.rpartition(".<locals>.")
        if frame.f_back is None:
            break
        frame = frame.f_back
    return found


def _texts(function: Callable[..., Any]) -> list[str]:
    return [text for text in inspect.get_annotations(function).values() if isinstance(text, str)]


def _names(text: str) -> tuple[str, ...]:
    try:
        return compile(text, "<annotation>", "eval").co_names
    except SyntaxError:
        return ()


def resolved(function: Callable[..., Any], local: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The types by parameter (and "return"), and for each that can't be resolved the reason.

    Left out: what says nothing of the values, as Any, a TypeVar or *args: P.args. A default of None allows None.
    """
    hints: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    names = {**_closure(function), **local}
    for name, annotation in inspect.get_annotations(function).items():
        holder = SimpleNamespace(__annotations__={name: annotation})
        try:
            hint = get_type_hints(holder, function.__globals__, names, include_extras=True)[name]
        except Exception as error:  # noqa: BLE001  a string annotation is code of the user's: it may raise anything
            reasons[name] = f"{type(error).__name__}: {error}"
            continue
        if hint is Any or isinstance(hint, TypeVar | ParamSpecArgs | ParamSpecKwargs) or get_origin(hint) is Unpack:
            continue
        hints[name] = hint
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is None and name in hints:
            hints[name] = hints[name] | None
    return hints, reasons


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    return inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
