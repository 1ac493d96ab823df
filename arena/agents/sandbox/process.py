"""The process of one agent as a match sees it: questions with deadlines, a cut output, an end that leaves nothing."""

import os
import select
import signal
import socket
import struct
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from arena.agents.faults import AgentFault, AgentLost, one_line
from arena.agents.sandbox import wire
from arena.agents.sandbox.bubblewrap import IsolationUnavailable
from arena.agents.sandbox.launch import Launched, launch
from arena.agents.sandbox.wire import HEADER, Kind, WireError

HELLO_SECONDS = 300.0  # for Python and torch to load: our own business, so a slow disk is no fault of the agent
END_SECONDS = 5.0  # for the reaper to kill what it keeps
MAX_OUTPUT = 16 * 2**20  # bytes that an agent may print
KEPT_OUTPUT = 2**14  # bytes of it that are kept, the first
CHUNK = 2**20  # bytes
REAPER_ID = struct.Struct("<i")
REAPER_RECORD = struct.Struct("<ii")  # its process id, exit code of the agent


class AgentProcess:
    """Started at once; `answer` waits. After an AgentFault it is closed and of no more use."""

    def __init__(self, spec: str, params: Mapping[str, Any], sandbox: bool):
        self._launched = launched = launch(spec, params, sandbox)
        self._channel, self._output, self._may_print = launched.channel, launched.output, True
        self._of_reaper, self._printed, self._num_printed = bytearray(), bytearray(), 0
        os.set_blocking(launched.output, False)
        launched.channel.setblocking(False)
        launched.lifeline.setblocking(False)
        self._end = weakref.finalize(self, _end, launched, self._of_reaper)

    def send(self, message: bytes, descriptor: int | None = None) -> None:
        """Ask something; who is gone shows when the answer is waited for."""
        # Small beside the buffer of the channel, which is empty: every question is answered before the next.
        with suppress(ConnectionError):
            sent = socket.send_fds(self._channel, [message], [] if descriptor is None else [descriptor])
            assert sent == len(message)

    def answer(self, expected: Kind, seconds: float, doing: str, largest: int = wire.MAX_TEXT) -> bytes:
        """The payload of the answer to what was sent.

        expected, largest  kind of the answer and most bytes of its payload      doing  what a time-out quotes
        """
        try:
            kind, payload = self._receive(time.monotonic() + seconds, max(largest, wire.MAX_TEXT))
            found = None if kind is expected else self._reported(kind, payload)
        except TimeoutError:
            found = AgentFault(f"took longer than {seconds:g} s {doing}", clause="limits")
        except (EOFError, ConnectionError):
            found = self._how_it_ended(seconds, doing)
        except WireError as error:
            found = AgentFault(str(error), clause="limits")
        while self._drain():
            pass
        if self._num_printed > MAX_OUTPUT:  # before all else, so that the reason does not hang on who was read first
            found = AgentFault(f"printed more than {MAX_OUTPUT // 2**20} MB", clause="limits")
        if found is not None:
            self.close()
            found.trace += self._said("\nprinted:\n")
            raise found
        return payload

    def wait_for_host(self) -> None:
        """Until Python and our own modules are loaded there; no code of the agent's has run before."""
        try:
            self._receive(time.monotonic() + HELLO_SECONDS, 0)
        except (EOFError, ConnectionError, TimeoutError, WireError):
            self.close()
            said = " ".join(self._said().split())[-300:]
            raise IsolationUnavailable(f"the process of an agent does not start: {said or 'it says nothing'}") from None

    def close(self) -> None:
        """End the process and all that it started."""
        self._end()

    def _receive(self, deadline: float, largest: int) -> tuple[Kind, bytes]:
        """The next message. TimeoutError, WireError, or EOFError when the process is gone."""
        parts, wanted, kind = bytearray(), HEADER.size, None
        channel, lifeline = self._channel, self._launched.lifeline
        while len(parts) < wanted:
            left = deadline - time.monotonic()
            heard = [channel.fileno(), lifeline.fileno(), *([self._output] if self._may_print else [])]
            ready = _readable(heard, left)
            if self._output in ready:
                self._drain()
            if channel.fileno() in ready:
                part = channel.recv(wanted - len(parts))
                if not part:
                    raise EOFError
                parts += part
                if kind is None and len(parts) == HEADER.size:
                    kind, length = wire.unpack_header(bytes(parts), largest)
                    wanted += length
            elif lifeline.fileno() in ready and not _hear(lifeline, self._of_reaper):
                raise EOFError
            elif left <= 0 or self._num_printed > MAX_OUTPUT:
                raise TimeoutError
        assert kind is not None
        return kind, bytes(parts[HEADER.size :])

    def _drain(self) -> bool:
        """Read what was printed, so that the process never waits for us; False where there is nothing."""
        try:
            text = os.read(self._output, CHUNK)
        except BlockingIOError:
            return False
        self._may_print = bool(text)
        self._printed += text[: KEPT_OUTPUT - len(self._printed)]
        self._num_printed += len(text)
        return bool(text) and self._num_printed <= MAX_OUTPUT

    def _said(self, title: str = "") -> str:
        return title + self._printed.decode("utf-8", "replace") if self._printed else ""

    def _how_it_ended(self, seconds: float, doing: str) -> AgentFault:
        code = _exit_code(self._launched.lifeline, self._of_reaper)
        if code is None:
            return AgentFault("closed its channel", clause="limits")
        number = code - 128
        if number == signal.SIGXCPU:
            return AgentFault(f"took longer than {seconds:g} s {doing}", clause="limits")
        if number in signal.valid_signals():
            kind = AgentLost if number in (signal.SIGKILL, signal.SIGTERM) else AgentFault
            return kind(f"its process was killed ({signal.Signals(number).name})", clause="limits")
        return AgentFault(f"ended its process with exit code {code}", clause="limits")

    def _reported(self, kind: Kind, payload: bytes) -> AgentFault:
        if kind is not Kind.FAULT:
            return AgentFault("sent something that was not asked for", clause="limits")
        content = wire.unpack_json(payload)
        trace = str(content.get("trace", "")).encode("utf-8", "replace").decode()
        return AgentFault(str(content.get("reason", "")), trace, one_line(str(content.get("clause", ""))))


def _readable(descriptors: list[int], seconds: float) -> set[int]:
    """Those with something to read, or closed at the other end, as soon as there is one."""
    poll = select.poll()  # unlike select, for descriptors of any number
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(max(seconds, 0.0) * 1000)}


def _hear(lifeline: socket.socket, heard: bytearray) -> bool:
    """Add what the reaper has said; False when it is gone."""
    try:
        said = lifeline.recv(64)
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    heard += said
    return bool(said)


def _wait_for_reaper(lifeline: socket.socket, heard: bytearray) -> bool:
    """Whether it ends in time."""
    deadline = time.monotonic() + END_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if _readable([lifeline.fileno()], left) and not _hear(lifeline, heard):
            return True
    return False


def _exit_code(lifeline: socket.socket, heard: bytearray) -> int | None:
    """Of the agent; of a reaper that could not say it, because the agent killed it, SIGKILL. None: both still live."""
    if not _wait_for_reaper(lifeline, heard):
        return None
    return REAPER_RECORD.unpack(heard)[1] if len(heard) == REAPER_RECORD.size else 128 + signal.SIGKILL


def _end(launched: Launched, heard: bytearray) -> None:
    launched.channel.close()
    os.close(launched.output)
    lifeline = launched.lifeline
    with suppress(OSError):
        lifeline.shutdown(socket.SHUT_WR)  # the sign for the reaper
    if _hear(lifeline, heard):
        _signal_reaper(heard, signal.SIGCONT)  # an agent may have stopped it
        if not _wait_for_reaper(lifeline, heard):
            _signal_reaper(heard, signal.SIGKILL)
    lifeline.close()
    if launched.starter is not None:
        launched.starter.wait()


def _signal_reaper(heard: bytearray, number: signal.Signals) -> None:
    if len(heard) >= REAPER_ID.size:
        with suppress(ProcessLookupError):
            os.kill(REAPER_ID.unpack_from(heard)[0], number)
