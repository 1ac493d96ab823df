"""Ctrl-C, or a notebook's stop button, asks a training to stop; a second one stops it at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_requests(on_request: Callable[[], None]) -> Iterator[None]:
    """Call `on_request` at the first SIGINT inside the block; a second SIGINT raises KeyboardInterrupt as usual.

    Python delivers signals to the main thread only: in other threads the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request(*signal_and_frame: object) -> None:
        signal.signal(signal.SIGINT, handler)
        on_request()

    before = signal.signal(signal.SIGINT, request)
    # None stands for a handler that was not set from Python, which Python cannot set again.
    handler = signal.default_int_handler if before is None else before
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
