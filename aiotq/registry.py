"""The tasks that a process knows, by name."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast

from aiotq import checks
from aiotq.errors import ResultTooLarge, UnknownTask, UsageError
from aiotq.job import DEFAULT_PRIORITY, DEFAULT_QUEUE
from aiotq.likeness import closest
from aiotq.plain import outgrown
from aiotq.retry import Duration, RetryPolicy, seconds
from aiotq.serializers import Codec
from aiotq.veil import Veil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

MAIN = ("__main__", "__mp_main__")  # the script that is run; multiprocessing's children know it by the second name


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What `@app.task(...)` was given, as it was given. None: not given, unless said otherwise."""

    name: str | None = None
    queue: str | None = None
    priority: int = DEFAULT_PRIORITY
    retries: int = 3
    retry: RetryPolicy | None = None
    timeout: Duration | None = None  # None: an attempt may take for ever
    result_ttl: Duration | None = None
    store_result: bool = True
    store_traceback: bool = True
    sensitive: Collection[str] = ()
    process: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredTask:
    """A function that jobs may name, with what holds for its jobs unless a call says otherwise."""

    name: str  # "module:function" unless named
    fn: Callable[..., Any]
    is_async: bool
    process: bool  # a process of the worker's pool runs it
    module: str  # where such a process finds it
    path: str  # ... and its name in there
    queue: str
    priority: int
    retries: int  # attempts after the first
    policy: RetryPolicy
    timeout_s: float | None  # of one attempt
    result_ttl_s: float | None  # None: the app's
    store_result: bool
    store_traceback: bool
    veil: Veil | None  # None: no argument is sensitive
    codec: Codec
    where: str  # "file:line"
    identity: tuple[str, ...]  # the same one again replaces: a reload, a notebook's cell

    @property
    def short(self) -> str:
        """The name without its module, if the name is one that was made from it."""
        return self.name.rpartition(":")[2] or self.name

    def encoded(self, value: object, *, max_result: int) -> bytes | None:
        """JSON of what it returned, None if that is not stored. Raises ResultTooLarge, SerializationError."""
        if not self.store_result:
            return None
        size = outgrown((value,), max_result)
        result = b"" if size else self.codec.encode_result(value)
        if size or len(result) > max_result:
            raise ResultTooLarge(task=self.name, size=size or len(result), limit=max_result)
        return result

    @property
    def signature(self) -> str:
        """As a banner shows it: `greet(name: str) -> str`."""
        plain = inspect.signature(self.fn)
        parameters = [p.replace(annotation=_unquoted(p.annotation)) for p in plain.parameters.values()]
        returns = _unquoted(plain.return_annotation)
        return f"{self.short}{plain.replace(parameters=parameters, return_annotation=returns)}"


class Registry:
    """The tasks of one app, in the order of their declaration."""

    def __init__(self, *, default_queue: str = DEFAULT_QUEUE) -> None:
        self.default_queue = default_queue
        self._tasks: dict[str, RegisteredTask] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[RegisteredTask]:
        return iter(tuple(self._tasks.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def get(self, name: str) -> RegisteredTask | None:
        """The task of that name, or None."""
        return self._tasks.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of declaration."""
        return tuple(self._tasks)

    @property
    def queues(self) -> tuple[str, ...]:
        """The default queue, then every other that a task names, in the order of declaration."""
        return tuple(dict.fromkeys((self.default_queue, *(task.queue for task in self._tasks.values()))))

    def add(self, task: RegisteredTask) -> None:
        """Take a task in. Raises UsageError if another function has its name."""
        other = self._tasks.get(task.name)
        if other is not None and other.identity != task.identity:
            raise UsageError(
                f"two functions would be the task {task.name!r}: {other.where} and {task.where}; "
                "a name stands for one function; rename one, or give it another name: @app.task(name=...)"
            )
        self._tasks[task.name] = task

    def nearest(self, name: str) -> tuple[str, ...]:
        """Up to three known names that look like `name`, the likeliest first."""
        return nearest(name, self._tasks)

    def unknown(self, name: str) -> UnknownTask:
        """The error that says that `name` is no task here, and which ones are."""
        return UnknownTask(task=name, known=self.names, nearest=self.nearest(name))


def nearest(name: str, names: Collection[str]) -> tuple[str, ...]:
    """Up to three of some tasks' names that look like `name`, the likeliest first; of one that is too long, none."""
    function = name.rpartition(":")[2]
    if len(name) > checks.LONGEST_TASK:
        return ()
    moved = [known for known in names if known.rpartition(":")[2] == function]
    return tuple(dict.fromkeys([*moved, *closest(name, names)]))[:3]


def declare(target: object, options: TaskOptions, *, default_queue: str = DEFAULT_QUEUE) -> RegisteredTask:
    """Check a function and what its decorator was given. Raises UsageError, with the place and what to do."""
    fn = _function(target)
    where = f"{fn.__code__.co_filename}:{fn.__code__.co_firstlineno}"
    _refuse_what_cannot_be_a_task(fn, where, named=options.name is not None)
    module, path = home(fn.__module__), _path_in_module(fn)
    is_lambda = fn.__name__ == "<lambda>"
    if options.process:
        _refuse_what_no_process_can_find(fn, where, module)
    if options.retry is not None and not isinstance(options.retry, RetryPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"retry={checks.shown(options.retry)} is not allowed; pass a RetryPolicy(...)")
    codec, sensitive = Codec(fn), _names("sensitive", options.sensitive)
    return RegisteredTask(
        name=_own_name(f"{module}:{path}", where) if options.name is None else checks.task("name", options.name),
        fn=fn,
        is_async=inspect.iscoroutinefunction(fn),
        process=checks.flag("process", options.process),
        module=module,
        path=path,
        queue=default_queue if options.queue is None else checks.queue("queue", options.queue),
        priority=checks.priority("priority", options.priority),
        retries=checks.whole("retries", options.retries, least=0),
        policy=options.retry or RetryPolicy(),
        timeout_s=None if options.timeout is None else seconds(options.timeout, name="timeout", exclusive=True),
        result_ttl_s=None
        if options.result_ttl is None
        else seconds(options.result_ttl, name="result_ttl", exclusive=True),
        store_result=checks.flag("store_result", options.store_result),
        store_traceback=checks.flag("store_traceback", options.store_traceback),
        veil=codec.veil(sensitive) if sensitive else None,
        codec=codec,
        where=where,
        identity=(module, fn.__qualname__, *([where] if is_lambda else [])),
    )


def _own_name(name: str, where: str) -> str:
    """A name that was made from a module's. Raises UsageError for what no record should carry."""
    if name.isprintable() and len(name) <= checks.LONGEST_TASK:
        return name
    raise UsageError(
        f"{name[:80]!r} ({where}) can't be a task's name: it is longer than {checks.LONGEST_TASK} characters, or holds "
        "some that can't be printed; give it another one: @app.task(name=...)"
    )


def _names(parameter: str, value: object) -> frozenset[str]:
    """Names in a set, list or tuple. Raises UsageError for a str, which is one of letters."""
    if isinstance(value, set | frozenset | list | tuple):
        many = cast("Collection[object]", value)
        names = frozenset(name for name in many if isinstance(name, str))
        if len(names) == len(set(many)):
            return names
    raise UsageError(
        f'{parameter}={checks.shown(cast("object", value))} is not allowed; pass names of parameters: {{"password"}}'
    )


def home(module: str) -> str:
    """The name by which a worker imports a module: another one than `__main__` for the script that is run."""
    main = sys.modules.get("__main__")
    if module not in MAIN or main is None:
        return module
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in MAIN:
        return str(spec.name)  # python -m shop.tasks
    return _from_file(main) or module  # a console or a notebook has no file: only workers in this process will do


def _from_file(main: ModuleType) -> str | None:
    """The dotted name of a script, seen from the current folder, as a worker started there would import it."""
    file = getattr(main, "__file__", None)
    if not file:
        return None
    path = Path(file).resolve()
    for root in (Path.cwd(), Path(sys.path[0]) if sys.path else Path.cwd()):
        if path.is_relative_to(root.resolve()):
            parts = path.relative_to(root.resolve()).with_suffix("").parts
            if all(part.isidentifier() for part in parts):
                return ".".join(parts)
    return path.stem


def _path_in_module(fn: FunctionType) -> str:
    """`greet`, or `Mail.greet` for a static method; without the functions around it."""
    return fn.__qualname__.rpartition("<locals>.")[2]


def _function(target: object) -> FunctionType:
    """The plain function behind what was decorated. Raises UsageError for all that is none."""
    if isinstance(target, staticmethod):
        target = cast("object", target.__func__)
    if isinstance(target, FunctionType):
        return target
    shown = checks.shown(target)
    if isinstance(target, MethodType | classmethod):
        raise UsageError(
            f"{shown} is a method, and a worker has no instance to call it on; "
            "make it a function that takes what it needs, or a staticmethod"
        )
    if isinstance(target, type):
        raise UsageError(f"{shown} is a class; a task is a function: write a def that makes and uses one")
    if isinstance(target, functools.partial):
        raise UsageError(f"{shown} is a partial; a task is a function with a name: write a def that calls it")
    raise UsageError(f"{shown} is no function; a task is a plain or an async def: write one that calls it")


def _refuse_what_cannot_be_a_task(fn: FunctionType, where: str, *, named: bool) -> None:
    label = f"{fn.__qualname__} ({where})"
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise UsageError(
            f"{label} is a generator function, and a task gives one result; "
            "return a list, or enqueue a job for each thing that it would yield"
        )
    if fn.__name__ == "<lambda>" and not named:
        raise UsageError(f"{label} has no name that a worker could find it by; write a def, or pass name='...'")
    first = next(iter(inspect.signature(fn).parameters), None)
    if "." in _path_in_module(fn) and first in {"self", "cls"}:
        raise UsageError(
            f"{label} is a method, and a worker has no instance to call it on; "
            "make it a function that takes what it needs, or a staticmethod"
        )


def _refuse_what_no_process_can_find(fn: FunctionType, where: str, module: str) -> None:
    label = f"{fn.__qualname__} ({where})"
    if inspect.iscoroutinefunction(fn):
        raise UsageError(
            f"{label} is an async def, and process=True runs a plain def in a process of the worker's pool; "
            "make it a def, or leave out process=True"
        )
    if "<" in fn.__qualname__ or module in MAIN:
        what = "is defined in a console or notebook" if module in MAIN else "is a lambda, or defined within a function"
        raise UsageError(
            f"{label} {what}, and process=True needs a task that another process can import by its name; "
            "write a def at the top level of a module"
        )


def task_at(module: ModuleType, path: str) -> Any | None:
    """The task that a name in a module leads to, itself or below what other decorators made of it."""
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part, None)
    while found is not None and not isinstance(getattr(found, "registered", None), RegisteredTask):
        found = getattr(found, "__wrapped__", None)
    return found


def refuse_what_no_process_finds(tasks: Iterable[RegisteredTask]) -> None:
    """Look for each task with process=True where a process will. Raises UsageError for one that is not there."""
    for task in tasks:
        if task.process and os.name == "nt":
            raise UsageError(f"{task.name!r} has process=True, which needs a POSIX system; leave it out on Windows")
        module = sys.modules.get(task.fn.__module__)
        found = task_at(module, task.path) if task.process and module is not None else None
        if task.process and (found is None or found.registered.name != task.name):
            raise UsageError(
                f"{task.name!r} ({task.where}) has process=True, and {task.module}:{task.path} is not that task; "
                "decorate a def of the module's own, with @app.task(process=True) above it, and keep its name"
            )


class _Text:
    """Stands in for an annotation that is a string (`from __future__ import annotations`), shown without its quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _unquoted(annotation: object) -> object:
    return _Text(annotation) if isinstance(annotation, str) else annotation
