"""Files of the driver's machine that a task needs on another one: sent once, by content, and unpacked where they lack.

A node that has the same content at the same path, because it shares the disk or got it with the job, reads it there.
"""

import functools
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

MOST_BYTES = 2 * 1024**3  # of a file or folder: more belongs on a disk that all nodes share

Content = dict[str, bytes]  # by path relative to the folder; "" of a file


class MissingFile(RuntimeError):
    """A node lacks what a task needs, and it cannot be sent."""


class FileBundle(NamedTuple):
    """A file, or a folder with all that is in it."""

    path: str  # absolute, on the machine of the driver
    digest: str  # of relative paths and bytes; "": what is at the path is as good, whatever it holds
    content: Any  # reference to Content; None: too large to be sent


def pack(path: Path, put: Callable[[Content], Any], *, is_store: bool = False) -> FileBundle:
    """The bundle of a file or folder; `put` gives a reference to its content, such as ray.put.

    is_store  a folder whose files are named by their content, which workers add to
    """
    files = list(_files(path))
    is_small = sum(file.stat().st_size for _, file in files) <= MOST_BYTES
    content = put({name: file.read_bytes() for name, file in files}) if is_small else None
    return FileBundle(str(path), "" if is_store or not is_small else digest(path), content)


def unpack(bundle: FileBundle, get: Callable[[Any], Content]) -> str:
    """Where the bundle's content is on this machine: at its path if it is the same there, else in a cache.

    MissingFile if it is not there and was too large to be sent, or if the cache cannot be written to.
    """
    original = Path(bundle.path)
    if original.exists() and bundle.digest in ("", _known_digest(original)):
        return bundle.path
    if bundle.content is None:
        raise MissingFile(
            f"node {os.uname().nodename} has no {bundle.path}, which is too large to be sent (at most "
            f"{MOST_BYTES / 1e9:.1f} GB are); put it on a disk that all nodes see under this path"
        )
    key = bundle.digest or hashlib.sha256(bundle.path.encode()).hexdigest()
    try:
        folder = cache_folder() / key
        if not folder.exists():
            draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
            try:
                _write(draft / original.name, get(bundle.content))
                try:
                    draft.rename(folder)
                except OSError:  # another process was quicker
                    if not folder.exists():
                        raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise MissingFile(f"node {os.uname().nodename} cannot keep a copy of {bundle.path}: {error}") from error
    return str(folder / original.name)


def _write(place: Path, content: Content) -> None:
    if "" in content:
        place.write_bytes(content[""])
        return
    place.mkdir()
    for name, data in content.items():
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def cache_folder() -> Path:
    """Of this user alone: what lies there is run."""
    folder = Path(tempfile.gettempdir()) / f"arena-files-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise MissingFile(f"{folder} can be written to by others; remove it, or set TMPDIR to a folder of your own")
    return folder


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's relative paths and bytes."""
    sha = hashlib.sha256()
    for name, file in _files(path):
        with file.open("rb") as opened:
            own = hashlib.file_digest(opened, "sha256").hexdigest()
        sha.update(f"{name}\0{own}\0".encode())
    return sha.hexdigest()


@functools.cache
def _known_digest(path: Path) -> str:
    """Once per process: a file that changes under a run is noticed by who loads it."""
    return digest(path)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield "", path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield file.relative_to(path).as_posix(), file
