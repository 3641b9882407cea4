"""`App`: where tasks are registered and jobs enqueued."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypeAlias, TypedDict, TypeVar, Unpack, cast, overload

from aiotq import checks, settings
from aiotq.client import Core
from aiotq.errors import UsageError
from aiotq.handle import Job
from aiotq.job import DEFAULT_PRIORITY, DEFAULT_QUEUE
from aiotq.registry import Registry, TaskOptions, declare
from aiotq.settings import FAILURE_TTL, MIB
from aiotq.task import AsyncTask, Signature, SyncTask, Task, enqueue_many

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from aiotq.hooks import Middleware, Observer
    from aiotq.inspector import Inspector
    from aiotq.retry import Duration, RetryPolicy
    from aiotq.source import Source
    from aiotq.worker.worker import Worker

    # Called with the app if it takes an argument; what it yields is `current_job().state`.
    Life: TypeAlias = "Callable[[], AbstractAsyncContextManager[Any]]"
    Lifespan: TypeAlias = (
        "Callable[[], AbstractAsyncContextManager[Any]] | Callable[[App], AbstractAsyncContextManager[Any]]"
    )

P = ParamSpec("P")
R = TypeVar("R")


class TaskKeywords(TypedDict, total=False):
    """What `@app.task(...)` takes, for type checkers; `App.task` describes it."""

    name: str | None
    queue: str | None
    priority: int
    retries: int
    retry: RetryPolicy | None
    timeout: Duration | None
    result_ttl: Duration | None
    store_result: bool
    store_traceback: bool
    sensitive: Collection[str]
    process: bool


class TaskDecorator(Protocol):
    """What `@app.task(...)` decorates with."""

    @overload  # an async def is also a function that returns a coroutine: the first that fits counts
    def __call__(  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...


class App:
    """Where tasks are registered and jobs enqueued.

    url: redis://, rediss://, redis+sentinel://host:port,host:port/service, unix://, embedded://[path] or memory://,
        read at first use. None: AIOTQ_URL, REDIS_URL, the built-in server if there, redis://localhost:6379.
    namespace: what all keys begin with; apps of one namespace share jobs.
    result_ttl, failure_ttl: how long the record of a job that has ended is kept, the latter if it failed.
    max_payload, max_result: bytes of JSON.
    connect_timeout: how long `delay()` may take before it raises.
    lifespan: an async context manager (called without arguments, or with the app) around each worker's life; its value
        is `current_job().state`.
    lease: how long a worker that is silent keeps its jobs. unknown_for: how long a job of an unknown task waits for a
        worker that knows it. max_lost: how often a job's worker may vanish. max_block: how long a task may block the
        event loop before its worker's jobs are given to others.
    max_len: how many jobs may wait in a queue, in each one or by name ({"email": 10_000}); what this app enqueues
        beyond that is refused with QueueFull. Scheduled jobs don't count, and come in all the same. None: no limit.
    signing_keys: secrets, of 16 bytes or more each, that sign what is stored of a job; the first signs, all are taken.
        None: AIOTQ_SIGNING_KEYS, with commas between them. What is not signed is not run, and no result.
    middleware, observers: what wraps, or watches, each enqueuing and run; the first is the outermost.

    Durations are seconds (int or float) or a timedelta. Raises UsageError for what can't be right.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str = "aiotq",
        default_queue: str = DEFAULT_QUEUE,
        result_ttl: Duration = 3600,
        failure_ttl: Duration = FAILURE_TTL,
        max_payload: int = MIB,
        max_result: int = MIB,
        connect_timeout: Duration = 5,
        lifespan: Lifespan | None = None,
        lease: Duration = 15,
        unknown_for: Duration = 3600,
        max_lost: int = 3,
        max_block: Duration = 60,
        max_len: int | Mapping[str, int] | None = None,
        signing_keys: Sequence[str | bytes] | None = None,
        middleware: Sequence[Middleware] = (),
        observers: Sequence[Observer] = (),
    ) -> None:
        _refuse_no_url(url)
        checked = settings.checked(
            namespace=namespace,
            default_queue=default_queue,
            result_ttl=result_ttl,
            failure_ttl=failure_ttl,
            max_payload=max_payload,
            max_result=max_result,
            connect_timeout=connect_timeout,
            lease=lease,
            unknown_for=unknown_for,
            max_lost=max_lost,
            max_block=max_block,
            max_len=max_len,
            signing_keys=signing_keys,
        )
        self._core = Core(url=url, settings=checked, registry=Registry(default_queue=checked.default_queue))
        self._tasks: dict[str, Task[..., Any]] = {}
        self._lifespan = None if lifespan is None else _bound(lifespan, self)
        for hook in (*_given("middleware", middleware), *_given("observers", observers)):
            self._core.hook(hook)

    def __repr__(self) -> str:
        return f"<App {self._core.settings.namespace}: {', '.join(self._tasks) or 'no tasks'}>"

    @property
    def namespace(self) -> str:
        """What all its keys begin with."""
        return self._core.settings.namespace

    # --- tasks --------------------------------------------------------------------------------------------------

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """The tasks by name, in the order of their declaration."""
        return MappingProxyType(self._tasks)

    @property
    def registry(self) -> Registry:
        """The same, as workers know them."""
        return self._core.registry

    @overload  # an async def is also a function that returns a coroutine: the first that fits counts
    def task(  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[P, Coroutine[Any, Any, R]], **options: Unpack[TaskKeywords]
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], **options: Unpack[TaskKeywords]) -> SyncTask[P, R]: ...
    @overload
    def task(self, fn: None = None, **options: Unpack[TaskKeywords]) -> TaskDecorator: ...
    def task(
        self,
        fn: Any = None,
        *,
        name: str | None = None,
        queue: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        retries: int = 3,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        result_ttl: Duration | None = None,
        store_result: bool = True,
        store_traceback: bool = True,
        sensitive: Collection[str] = (),
        process: bool = False,
    ) -> Any:
        """Make a function a task: `@app.task` or `@app.task(queue="mail", retries=5)`.

        An async def runs on the worker's event loop, a plain def in a thread, or with process=True in a process.

        name: what jobs know it by; else "module:function". queue: else the app's default one. priority: 0 (first) to
        9. retries: attempts after the first. retry: when they are made, and for which errors. timeout: of each attempt;
        None: none. result_ttl: how long the record of a job that succeeded is kept; None: as the app says.
        store_result: False drops what it returns. store_traceback: False keeps the lines of code that led to an error
        out of its record and the logs. sensitive: parameters whose values are masked in logs and errors. process: for
        a plain def at the top level of a module that keeps a core busy: a process of the worker's pool runs it, and is
        killed on timeout or cancel. What a call's `.options()` say goes before all this.

        Raises UsageError for what can't be a task, and for a second function of one name.
        """
        options = TaskOptions(
            name=name,
            queue=queue,
            priority=priority,
            retries=retries,
            retry=retry,
            timeout=timeout,
            result_ttl=result_ttl,
            store_result=store_result,
            store_traceback=store_traceback,
            sensitive=sensitive,
            process=process,
        )

        return partial(self._register, options) if fn is None else self._register(options, fn)

    def _register(self, options: TaskOptions, target: object) -> Task[..., Any]:
        registered = declare(target, options, default_queue=self._core.settings.default_queue)
        self._core.registry.add(registered)
        made: Task[..., Any]
        made = AsyncTask(self._core, registered) if registered.is_async else SyncTask(self._core, registered)
        self._tasks[registered.name] = made
        return made

    def add_middleware(self, middleware: Middleware) -> None:
        """Have this wrap, inside of the others, what is enqueued from now on, and runs of workers that start later."""
        self._core.hook(middleware)

    def add_observer(self, observer: Observer) -> None:
        """Have this watch what is enqueued from now on, and the workers that start later. Raises UsageError."""
        self._core.hook(observer)

    # --- jobs ---------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job[Any]:
        """The handle of any job, by its id; asks nobody whether there is one."""
        return Job(self._core, checks.job_id("job_id", job_id))

    async def enqueue_many(self, signatures: Iterable[Signature[R]]) -> list[Job[R]]:
        """Enqueue many calls (`task.s(...)`) in a few round trips; returns their handles in the same order.

        They go out in bounded batches. Raises StoreError for the first batch that fails, of which none is queued then,
        with a note that says how many jobs were queued before it; QueueFull if some did not fit their queue (`max_len`;
        `.refused` names their places), when all others are queued. If one of the calls is `durable`, all are.
        """
        return await enqueue_many(self._core, signatures)

    @property
    def inspect(self) -> Inspector:
        """What there is and how it does, and the hand that changes it: queues, workers, jobs, failures, counts."""
        from aiotq.inspector import Inspector  # noqa: PLC0415  a service that only enqueues does without

        return Inspector(self._core)

    # --- workers ------------------------------------------------------------------------------------------------

    def worker(
        self,
        queues: Sequence[str] | None = None,
        *,
        concurrency: int = 100,
        threads: int = 8,
        pool_processes: int | None = None,
        grace: Duration = 30,
        lease: Duration | None = None,
        name: str | None = None,
    ) -> Worker:
        """A worker of this app, in this process: `async with app.worker(): ...`.

        queues: in the order in which they are served; None: the default one, then every other that the app's tasks
        name. concurrency: jobs at once. threads: plain-def jobs at once. pool_processes: jobs at once of tasks with
        process=True; None: one a core. grace: what running jobs get when it stops. lease: else the app's. name: a
        label. Raises UsageError.
        """
        from aiotq.worker.settings import told_by  # noqa: PLC0415  a service that only enqueues
        from aiotq.worker.worker import Worker  # noqa: PLC0415  ... does without

        own = self._core.settings
        told = self.registry.queues if queues is None else [checks.queue("queues", name) for name in _listed(queues)]
        checked = told_by(
            own,
            queues=tuple(dict.fromkeys(told)),
            concurrency=concurrency,
            threads=threads,
            pool_processes=pool_processes,
            grace=grace,
            lease=lease,
            name=name,
        )
        return Worker(
            registry=self.registry,
            settings=replace(checked, url=self._core.override, signer=self._core.signer, hooks=self._core.hooks),
            store=self._core.borrow,
            give_back=self._core.leave,
            lifespan=self._life,
        )

    @asynccontextmanager
    async def _life(self) -> AsyncGenerator[Any]:
        """A worker's life: it keeps the loop's connections open; its value is `current_job().state`."""
        await self._core.enter()
        try:
            async with nullcontext() if self._lifespan is None else self._lifespan() as state:
                yield state
        finally:
            await self._core.leave()

    # --- the connection -----------------------------------------------------------------------------------------

    def source(self) -> Source:
        """The URL of the server and who named it: "--url", "App(url)", "AIOTQ_URL", "REDIS_URL", "built-in", "default".

        Raises UsageError where only the built-in server is left and AIOTQ_ENV is "production".
        """
        return self._core.source()

    async def __aenter__(self) -> Self:
        """Connect for the running event loop. Raises StoreError within `connect_timeout`."""
        await self._core.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the running event loop's connections. May run in another asyncio task than the entering."""
        await self._core.leave()


def _bound(lifespan: Callable[..., AbstractAsyncContextManager[Any]], app: App) -> Life:
    """A lifespan without parameters. It is looked at when the app is made, so that a mistake is found then."""
    if inspect.isasyncgenfunction(lifespan) or inspect.isgeneratorfunction(lifespan):
        raise UsageError(
            f"lifespan={checks.shown(lifespan)} is no context manager, and an async one was expected; "
            "write @asynccontextmanager over it"
        )
    if callable(lifespan):
        try:
            signature = inspect.signature(lifespan)
        except ValueError:  # a builtin that does not tell
            return lifespan
        for given in ((), (app,)):
            try:
                signature.bind(*given)
            except TypeError:
                continue
            return partial(lifespan, *given)
    raise UsageError(
        f"lifespan={checks.shown(lifespan)} can't be called; "
        "pass a function that takes nothing, or the app, and returns an async context manager (@asynccontextmanager)"
    )


def _refuse_no_url(url: object) -> None:
    if url is not None and not isinstance(url, str):
        given = f"({type(url).__name__})" if "://" in str(url) else checks.shown(url)  # a password may be in it
        raise UsageError(f"url={given} is no URL; pass a str as 'redis://localhost:6379', or None")


def _given(parameter: str, hooks: object) -> Sequence[object]:
    if isinstance(hooks, list | tuple):
        return cast("Sequence[object]", hooks)
    raise UsageError(f"{parameter}={checks.shown(hooks)} is not allowed; pass a list of them")


def _listed(queues: object) -> list[object]:
    if isinstance(queues, list | tuple) and queues:
        return list(cast("Sequence[object]", queues))
    raise UsageError(
        f"queues={checks.shown(cast('object', queues))} is not allowed; pass a list of one or more names, or None"
    )


_default = App()
task = _default.task


def default_app() -> App:
    """The app of the module-level `task` decorator."""
    return _default
