"""A file that is seen whole or not at all, on a local disk and on NFS.

It is written beside its place, flushed to the disk or the server, and renamed: a rename within a folder is atomic on
both. Without the flush a power cut could keep the name and lose the bytes. The folder itself is not flushed: at worst
the name is lost as well, and what has no name is made again.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Where to write what shall stand at `path`; it stands there once the block is left without an error.

    Makes the folders above. OSError where it cannot be written; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    os.close(handle)
    try:
        yield Path(name)
        with open(name, "r+b") as written:  # not every system flushes what is open for reading only
            os.fsync(written.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
