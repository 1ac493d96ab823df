"""Many small concurrent forecasts as few large ones: whoever asks while the model is busy shares its next call.

N series of one call, all leading axes as one   C context bars   H horizon
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from arena.forecast.types import Forecast


class Call(NamedTuple):
    """One caller's series."""

    context: Tensor  # [N, C, 6]
    stamps: Tensor | None  # [N, C + H]
    horizon: int


Model = Callable[[Call], Forecast]


class _Waiting(NamedTuple):
    call: Call
    answer: "asyncio.Future[Forecast]"
    arrived: float  # monotonic seconds


@dataclass
class _Queue:
    """Calls that may be merged."""

    waiting: list[_Waiting] = field(default_factory=list)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def num_series(self) -> int:
        return sum(len(one.call.context) for one in self.waiting)


class MicroBatcher:
    """Runs calls of one kind together, on a single thread beside the event loop.

    A call waits until `max_batch` series of its kind are there or `max_delay` has passed, and the model is free; then
    all that have gathered go, up to `max_batch` series (a larger call goes alone, uncut). If that raises, each goes
    again alone, so that a bad context costs only its sender an answer.
    """

    def __init__(self, max_batch: int, max_delay: float) -> None:
        """max_delay in seconds."""
        if max_batch < 1 or max_delay < 0:
            raise ValueError(f"max_batch is {max_batch} and max_delay {max_delay} s, expected at least 1 and 0")
        self._max_batch, self._max_delay = max_batch, max_delay
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forecast")
        self._model_free = asyncio.Lock()
        self._queues: dict[Hashable, _Queue] = {}
        self._servants: set[asyncio.Task[None]] = set()  # one a queue; the loop itself holds tasks weakly
        self.num_model_calls = 0

    @property
    def queue_length(self) -> int:
        """Series that wait."""
        return sum(queue.num_series for queue in self._queues.values())

    async def submit(self, model: Model, kind: Hashable | None, call: Call) -> Forecast:
        """The model's answer to `call`, perhaps computed with others of the same kind.

        kind  equal for calls that may be merged: one model, the same dtype, context length and horizon, and stamps or
              none; None: never merged
        """
        if kind is None:
            return _unwrap((await self._run_beside(model, [call]))[0])
        waiting = _Waiting(call, asyncio.get_running_loop().create_future(), time.monotonic())
        if kind not in self._queues:
            self._queues[kind] = _Queue()
            servant = asyncio.create_task(self._serve(model, kind))
            self._servants.add(servant)
            servant.add_done_callback(self._servants.discard)
        self._queues[kind].waiting.append(waiting)
        self._queues[kind].arrival.set()
        return await waiting.answer

    async def _serve(self, model: Model, kind: Hashable) -> None:
        """Until no call of this kind is left."""
        queue = self._queues[kind]
        while queue.waiting:
            await self._gather(queue)
            async with self._model_free:  # whoever came while it was not is in
                taken = self._take(queue)
                answers = await self._run_beside(model, [one.call for one in taken])
            for one, answer in zip(taken, answers):
                if one.answer.done():
                    continue  # its caller has gone
                if isinstance(answer, Exception):
                    one.answer.set_exception(answer)
                else:
                    one.answer.set_result(answer)
        del self._queues[kind]

    async def _gather(self, queue: _Queue) -> None:
        end = queue.waiting[0].arrived + self._max_delay
        while queue.num_series < self._max_batch and (left := end - time.monotonic()) > 0:
            queue.arrival.clear()
            try:
                await asyncio.wait_for(queue.arrival.wait(), left)
            except TimeoutError:
                return

    def _take(self, queue: _Queue) -> list[_Waiting]:
        """The oldest calls up to `max_batch` series, at least one."""
        size = count = 0
        for one in queue.waiting:
            size += len(one.call.context)
            if count and size > self._max_batch:
                break
            count += 1
        taken = queue.waiting[:count]
        del queue.waiting[:count]
        return taken

    async def _run_beside(self, model: Model, calls: list[Call]) -> list[Forecast | Exception]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, model, calls)

    def _run(self, model: Model, calls: list[Call]) -> list[Forecast | Exception]:
        """An answer or what was raised instead, for each call."""
        self.num_model_calls += 1
        try:
            merged = model(_merge(calls))
        except Exception as error:
            if len(calls) == 1:
                return [error]
            return [answer for call in calls for answer in self._run(model, [call])]
        sizes = [len(call.context) for call in calls]
        quantiles = merged.quantiles.split(sizes)
        others = ([None] * len(calls) if one is None else one.split(sizes) for one in merged[1:])
        return [Forecast(*parts) for parts in zip(quantiles, *others)]


def _merge(calls: list[Call]) -> Call:
    if len(calls) == 1:
        return calls[0]
    stamps = [call.stamps for call in calls if call.stamps is not None]
    return Call(torch.cat([call.context for call in calls]), torch.cat(stamps) if stamps else None, calls[0].horizon)


def _unwrap(answer: Forecast | Exception) -> Forecast:
    if isinstance(answer, Exception):
        raise answer
    return answer
