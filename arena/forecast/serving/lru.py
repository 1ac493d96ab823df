"""A memory of bounded size that forgets what was not used for the longest time."""

from collections import OrderedDict
from collections.abc import Hashable

ENTRY_BYTES = 512  # of an entry besides its content: key, header of the bytes object, place in the order


class ByteLRU:
    """key -> bytes. Not for several threads at once."""

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes is {max_bytes}, expected at least 0")
        self.max_bytes = max_bytes
        self.bytes_used = 0
        self.evictions = 0
        self._entries: OrderedDict[Hashable, bytes] = OrderedDict()  # least recently used first

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> bytes | None:
        """The content, which now counts as used; None if there is none."""
        content = self._entries.get(key)
        if content is not None:
            self._entries.move_to_end(key)
        return content

    def put(self, key: Hashable, content: bytes) -> None:
        """Remember it, after forgetting as much as its size asks for; what exceeds the whole budget is not kept."""
        old = self._entries.pop(key, None)
        if old is not None:
            self.bytes_used -= len(old) + ENTRY_BYTES
        size = len(content) + ENTRY_BYTES
        if size > self.max_bytes:
            return
        while self.bytes_used + size > self.max_bytes:
            _, forgotten = self._entries.popitem(last=False)
            self.bytes_used -= len(forgotten) + ENTRY_BYTES
            self.evictions += 1
        self._entries[key] = content
        self.bytes_used += size
