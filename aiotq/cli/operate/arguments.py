"""From `--arg k=v` to the arguments of a task: JSON where the annotation wants it, else text."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

from aiotq.cli.mistake import Mistake
from aiotq.cli.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.registry import RegisteredTask


def together(task: RegisteredTask, pairs: Sequence[str], whole: str | None) -> dict[str, Any]:
    """The arguments by name. pairs: of `--arg`, "name=value". whole: of `--json-args`, an object. Raises Mistake."""
    given = {} if whole is None else _object(whole)
    for name, value in given.items():
        _refuse_unfit(task, name, json.dumps(value), f"--json-args: {name}")
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise Mistake(f"--arg {pair!r} is no NAME=VALUE", "write --arg NAME=VALUE, once for each argument")
        if name in given:
            raise Mistake(f"the argument {name!r} was given twice", "give it once")
        given[name] = value_of(task, name, text)
    try:
        task.codec.bind((), given)
    except TypeError as error:
        raise Mistake(*_unbound(task, str(error), given)) from None
    return given


def value_of(task: RegisteredTask, name: str, text: str) -> Any:
    """What a text means for that parameter. Raises Mistake if its annotation takes neither the JSON nor the text."""
    if task.codec.takes_text_alone(name):
        return text
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if task.codec.takes(name, json.dumps(value).encode()) is None:
        return value
    if value is not text and task.codec.takes(name, json.dumps(text).encode()) is None:
        return text
    _refuse_unfit(task, name, json.dumps(value), f"--arg {name}={printable(text)[:60]}")
    return value


def _refuse_unfit(task: RegisteredTask, name: str, raw: str, label: str) -> None:
    why = task.codec.takes(name, raw.encode())
    if why is not None:
        raise Mistake(f"{label} does not fit {printable(task.signature)}", printable(why))


def _object(text: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Mistake("--json-args is no JSON", printable(str(error))) from None
    if not isinstance(value, dict):
        raise Mistake("--json-args is no JSON object", """write --json-args '{"name": "Ada"}'""")
    return cast("dict[str, Any]", value)


def _unbound(task: RegisteredTask, why: str, given: dict[str, Any]) -> tuple[str, str]:
    """What is missing or too much, and the parameter that may have been meant."""
    wanted = task.codec.parameters
    stray = next((name for name in given if f"unexpected keyword argument {name!r}" in why), None)
    close = get_close_matches(stray, [name for name in wanted if name not in given], n=1) if stray else []
    signature = printable(task.signature)
    return why, f"did you mean --arg {close[0]}=...? {signature}" if close else f"it is {signature}"
