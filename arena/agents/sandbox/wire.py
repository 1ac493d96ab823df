"""Messages between a match and the process of an agent: a fixed header, then bytes of the length it says.

Nothing that comes from the agent's side is ever unpickled or executed. It is a number of a known kind, text of bounded
length, or exactly as many raw numbers as were asked for.
"""

import json
import socket
import struct
from enum import IntEnum
from typing import Any

HEADER = struct.Struct("<4sBI")  # magic, kind, bytes of the payload
MAGIC = b"arn1"
MAX_TEXT = 2**16  # bytes of a JSON payload from the agent's side
MAX_REPORTED = 2**14  # characters of a traceback; JSON may need several bytes for one


class Kind(IntEnum):
    """What a message is."""

    HELLO = 1  # from the host: the interpreter and our own modules are there
    START = 2  # to it: make this agent
    READY = 3  # from it: what the agent says of itself
    RESET = 4  # to it: forget the past, answered by READY
    ACT = 5  # to it: an observation lies in the shared memory
    WEIGHTS = 6  # from it: one byte that says whether numbers were drawn, then the weights
    FAULT = 7  # from it: reason and traceback


class WireError(ValueError):
    """The other side does not keep the protocol."""


def pack(kind: Kind, payload: bytes = b"") -> bytes:
    """A whole message."""
    return HEADER.pack(MAGIC, kind, len(payload)) + payload


def pack_json(kind: Kind, content: dict[str, Any]) -> bytes:
    """A message of text and numbers."""
    return pack(kind, json.dumps(content).encode())


def unpack_header(header: bytes, largest: int) -> tuple[Kind, int]:
    """Kind and length of the payload that follows; WireError if it is none, or announces more than `largest`."""
    magic, kind, length = HEADER.unpack(header)
    if magic != MAGIC or kind not in iter(Kind):
        raise WireError("sent something that is no message")
    if length > largest:
        raise WireError("sent a message that is too long")
    return Kind(kind), length


def unpack_json(payload: bytes) -> dict[str, Any]:
    """The content of a JSON payload; WireError if it is none."""
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WireError("sent text that cannot be read") from error
    if not isinstance(content, dict):
        raise WireError("sent text that cannot be read")
    return content


def receive(channel: socket.socket) -> tuple[Kind, bytes, list[int]]:
    """On the agent's side, which trusts the other: the next message and the file descriptors that came with it.

    EOFError when the match has gone.
    """
    header, descriptors, _, _ = socket.recv_fds(channel, HEADER.size, 1)
    header += _exactly(channel, HEADER.size - len(header)) if header else b""
    if not header:
        raise EOFError
    kind, length = unpack_header(header, 2**31)
    return kind, _exactly(channel, length), descriptors


def _exactly(channel: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = channel.recv(length - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
