"""Where the processor's time goes, by the methods that are watched."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

Watched = tuple[Any, str, str]  # a class or module, the name of its function, and the label of its seconds


class Stopwatch:
    """CPU seconds by label; time in a watched function that another one calls counts for the inner one alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]  # seconds of watched calls within each call under way

    @contextmanager
    def watching(self, functions: Iterable[Watched]) -> Iterator[None]:
        """Watch them, and give them back as they were."""
        originals = [(owner, name, getattr(owner, name)) for owner, name, _ in functions]
        for owner, name, label in functions:
            setattr(owner, name, self._watched(getattr(owner, name), label))
        try:
            yield
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)

    def _watched(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        @wraps(function)
        def timed(*arguments: Any, **settings: Any) -> Any:
            start = time.process_time()
            self._inner.append(0.0)
            try:
                return function(*arguments, **settings)
            finally:
                spent = time.process_time() - start
                self.seconds[label] += spent - self._inner.pop()
                self._inner[-1] += spent

        return timed
