"""A forecaster as a Ray actor: one process holds the model, many ask it.

For calls that are few or large, and for tables that many read. A loop that forecasts in every step takes
`local_forecaster` instead: the same artefact in its own process, because no call between processes is that cheap.

Paths travel, weights never do. The actor can be killed at any time: it is started again with what its constructor was
given, calls under way are tried again, and what was loaded later is loaded again by the client that needs it.

W windows   T bars   A assets   C context bars   H horizon
"""

import asyncio
import functools
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
import torch
from ray.actor import ActorHandle
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    GetTimeoutError,
    ObjectLostError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import Tensor

from arena.forecast.call_stats import Recorder, listen
from arena.forecast.loading import absolute, load_forecaster
from arena.forecast.serving.service import ForecastService, Health, UnknownVersion, VersionInfo
from arena.forecast.table import TableRequest
from arena.forecast.types import Forecast, Forecaster, ForecasterStats
from arena.monitor import metrics

NAME, NAMESPACE = "forecaster", "arena"
ATTEMPTS = 6  # of a call to an actor that is gone; the waits in between add up to about six seconds
TASK_RETRIES = 3  # by Ray, of a call that an actor did not survive; more often is no accident
START_SECONDS = 120.0  # that a server may take to load its forecasters
FIRST_WAIT = 0.2  # seconds, doubled from one attempt to the next
TASK_NAMES = {"predict": "forecast", "table": "forecast tables", "load": "load forecaster"}  # in Ray's dashboard

Array = np.ndarray


class ForecastServer:
    """The actor: a shell that turns arrays into tensors, tables into shared objects and counts into metrics."""

    def __init__(self, specs: Sequence[str], device: str = "cpu", threads: int = 1, **settings: Any) -> None:
        """
        specs     forecasters to load, see arena.forecast.loading
        threads   of torch in this process
        settings  max_batch, max_delay_ms, cache_mb, table_folder of `ForecastService`
        """
        torch.set_num_threads(threads)
        self._service = ForecastService(device, share=_share, **settings)
        self._problem: Exception | None = None
        try:
            for spec in specs:
                self._service.load(spec)
        except Exception as error:  # raised here, it would make Ray start the actor again and again
            self._problem = error
        self._names = ", ".join(version.forecaster.name for version in self._service.health().versions)
        self._counted = (0, 0)  # series from memory and by a model that metrics have been told of
        listen(metrics.count_forecast)

    def __repr__(self) -> str:
        return f"ForecastServer({self._names})"

    async def ready(self) -> None:
        """Raises what kept the constructor from loading a forecaster."""
        if self._problem is not None:
            raise self._problem

    async def load(self, spec: str) -> VersionInfo:
        """Load one more forecaster; its fingerprint is the version to ask for."""
        return await asyncio.to_thread(self._service.load, spec)

    async def predict(
        self, version: str, context: Array, stamps: Array | None, horizon: int
    ) -> tuple[Array, Array | None]:
        """Quantiles and samples of `Forecaster.predict`'s answer."""
        start = time.perf_counter()
        answer = await self._service.predict(
            version, _tensor(context), stamps if stamps is None else _tensor(stamps), horizon
        )
        metrics.REQUEST.record(time.perf_counter() - start, forecaster=self._service.info(version).forecaster.name)
        metrics.QUEUE.record(self._service.queue_length)
        counts = self._service.cache_counts()
        for source, count, before in zip(("memory", "model"), counts, self._counted):
            metrics.ANSWERS.record(count - before, source=source)
        self._counted = counts
        return _array(answer.quantiles), None if answer.samples is None else _array(answer.samples)

    async def table(
        self, version: str, bars: Array, stamps: Array | None, first: int, context_length: int, horizon: int
    ) -> "list[ray.ObjectRef]":
        """The table of a TableRequest, put into the object store once: a list of one reference to [W, T, A, 4].

        In a list, because Ray would wait for a bare reference and send what it stands for. The fields of the request
        come one by one for the same reason: Ray replaces a reference to `bars` only where it is an argument.
        """
        times = stamps if stamps is None else _tensor(stamps)
        return await self._service.table(version, TableRequest(_tensor(bars), first, context_length, times, horizon))

    async def health(self) -> Health:
        """Answers at once, also while a model runs."""
        return self._service.health()


def start_server(
    specs: Sequence[str],
    name: str = NAME,
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
    here: bool = False,
    **settings: Any,
) -> ActorHandle:
    """Start the actor, or find the one of this name that runs. It ends when the handle is given up by all who hold it.

    num_cpus, num_gpus  that Ray sets aside for it
    here                on the node of this process, whose files it reads
    settings            device, threads and those of `ForecastService`
    """
    _check_ray()
    actor: Any = ray.remote(ForecastServer).options(
        name=name,
        namespace=NAMESPACE,
        get_if_exists=True,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        max_restarts=-1,
        max_task_retries=TASK_RETRIES,  # a forecast depends on its arguments only: twice is as good as once
        scheduling_strategy=NodeAffinitySchedulingStrategy(_own_node(), soft=False) if here else None,
    )
    handle = actor.remote([absolute(spec) for spec in specs], **settings)
    try:
        ray.get(handle.ready.remote(), timeout=START_SECONDS)
    except RayTaskError as error:
        ray.kill(handle)
        raise error.cause from None
    except GetTimeoutError:
        ray.kill(handle)
        raise ServerGone(f"the forecast server {name!r} was not ready within {START_SECONDS:.0f} s") from None
    return handle


def _own_node() -> str:
    return ray.get_runtime_context().get_node_id()


class ServerGone(RuntimeError):
    """No actor of this name answers, and none came back."""


class Connection:
    """Calls to the actor of a name, tried again while it is being started anew."""

    def __init__(self, server: str = NAME, attempts: int = ATTEMPTS, timeout: float | None = None) -> None:
        """timeout  of one attempt [s]; None: as long as the actor works"""
        _check_ray()
        self._server, self._attempts, self._timeout = server, attempts, timeout
        self._actor: ActorHandle | None = None

    def call(self, method: str, *arguments: Any) -> Any:
        """What the method returns or raises; ServerGone if nobody answers."""
        wait = FIRST_WAIT
        for attempt in range(self._attempts):
            try:
                bound = getattr(self._find(), method)
                named = bound.options(name=TASK_NAMES[method]) if method in TASK_NAMES else bound
                return ray.get(named.remote(*arguments), timeout=self._timeout)
            except RayTaskError as error:
                raise error.cause from None  # what the method raised, without Ray's account of it
            except (ActorDiedError, ActorUnavailableError, GetTimeoutError, ServerGone):
                self._actor = None
            if attempt < self._attempts - 1:
                time.sleep(wait)
                wait *= 2
        raise ServerGone(
            f"the forecast server {self._server!r} does not answer; start it with start_server() of {__name__}"
        )

    def _find(self) -> ActorHandle:
        if self._actor is None:
            try:
                self._actor = ray.get_actor(self._server, NAMESPACE)
            except ValueError:
                raise ServerGone(f"there is no actor {self._server!r}") from None
        return self._actor


class RemoteForecaster:
    """A Forecaster whose model lives in the actor; the same numbers as `load_forecaster(spec)` gives.

    Small calls of several clients are merged there. A forecast comes without `channels`.
    """

    def __init__(self, spec: str, server: str = NAME) -> None:
        """
        spec    see arena.forecast.loading; the server loads it unless it has it
        server  name of the actor
        """
        self._spec = absolute(spec)
        self._connection = Connection(server)
        version: VersionInfo = self._connection.call("load", self._spec)
        self.info = version.forecaster
        self._recorder = Recorder()

    def stats(self) -> ForecasterStats:
        """Of this client."""
        return self._recorder.stats()

    def health(self) -> Health:
        """Of the server."""
        return self._connection.call("health")

    def predict(self, context: Tensor, stamps: Tensor | None, horizon: int) -> Forecast:
        """See `Forecaster.predict`."""
        with self._recorder.record(context.shape[:-2].numel()):
            quantiles, samples = self._ask(
                "predict", _array(context), stamps if stamps is None else _array(stamps), horizon
            )
            device = context.device
            return Forecast(_tensor(quantiles).to(device), None if samples is None else _tensor(samples).to(device))

    def table(self, request: TableRequest) -> Tensor:
        """`build_table` by the server, once for all who ask; in shared memory, only to be read."""
        bars, first, context_length, stamps, horizon = request
        shared, times = ray.put(_array(bars)), None if stamps is None else _array(stamps)
        for _ in range(ATTEMPTS):
            (reference,) = self._ask("table", shared, times, first, context_length, horizon)
            try:
                return _shared_tensor(ray.get(reference))
            except ObjectLostError:  # it belonged to an actor that has gone since: the next one makes it again
                continue
        raise ServerGone(f"the forecast server died {ATTEMPTS} times before its table could be read")

    def _ask(self, method: str, *arguments: Any) -> Any:
        fingerprint = self.info.fingerprint
        try:
            return self._connection.call(method, fingerprint, *arguments)
        except UnknownVersion:  # the actor began anew, without what had been loaded later
            found: VersionInfo = self._connection.call("load", self._spec)
        if found.fingerprint != fingerprint:
            raise ValueError(_changed(self._spec, fingerprint, found.fingerprint))
        return self._connection.call(method, fingerprint, *arguments)


def local_forecaster(spec: str, connection: Connection) -> Forecaster:
    """The forecaster that the server has under this spec, loaded into this process, once."""
    info: VersionInfo = connection.call("load", absolute(spec))
    return _loaded(info.spec, info.device, info.fingerprint)


@functools.cache
def _loaded(spec: str, device: str, fingerprint: str) -> Forecaster:
    forecaster = load_forecaster(spec, device)
    if forecaster.info.fingerprint != fingerprint:
        raise ValueError(_changed(spec, fingerprint, forecaster.info.fingerprint))
    return forecaster


def _changed(spec: str, before: str, now: str) -> str:
    return f"{spec} is not what the server began with: its fingerprint was {before} and is {now}; start the server anew"


def _check_ray() -> None:
    """Ray would otherwise start by itself, or join whatever cluster it finds on the machine."""
    if not ray.is_initialized():
        raise RuntimeError("Ray is not running; start or join one with ray.init")


def _share(table: Tensor) -> "list[ray.ObjectRef]":
    return [ray.put(table.numpy())]


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().contiguous().numpy()


def _tensor(array: Array) -> Tensor:
    """A copy: shared memory is read-only, and writing to it would end the process."""
    return torch.tensor(array)


def _shared_tensor(array: Array) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
