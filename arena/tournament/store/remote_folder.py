"""A folder behind a URI: on a mounted disk, or in an object store. No file in it is ever seen half written.

In an object store a file appears when its upload is completed; on a disk it is written beside its place and renamed.
Whose credentials are used is the environment's business (AWS_*, GOOGLE_APPLICATION_CREDENTIALS ...), never the URI's.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from threading import Event
from typing import NamedTuple
from urllib.parse import urlsplit

from arena.errors import UserError
from arena.tournament.store.atomic_file import atomic_file

KINDS = ("local", "s3", "gcs", "abfs")  # pyarrow's file systems with the promise above
FORMS = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, abfs://CONTAINER@ACCOUNT..., file:///FOLDER or a folder"
RETRY_SECONDS = 30.0  # for how long a failed upload is tried again; each try is bounded by its library as well
FIRST_WAIT = 0.5  # seconds, doubled from try to try
GCS_RETRY_SECONDS = 30  # instead of a quarter of an hour, in which nobody would know why nothing happens
MOST_WORDS = 300  # characters of what a library says


def is_uri(text: str) -> bool:
    """Whether it names a folder by a URI and not by a path."""
    return "://" in text


def absolute_uri(text: str) -> str:
    """The URI, or that of a path."""
    return text if is_uri(text) else Path(text).resolve().as_uri()


def child_uri(uri: str, name: str) -> str:
    """The URI of what lies in a folder; what stands after "?" stays at the end."""
    folder, mark, options = uri.partition("?")
    return f"{folder.rstrip('/')}/{name}{mark}{options}"


def parent_uri(uri: str) -> tuple[str, str]:
    """The URI of the folder above, and the name of the last part."""
    folder, mark, options = uri.partition("?")
    above, _, name = folder.rstrip("/").rpartition("/")
    return f"{above}{mark}{options}", name


def store_error_text(error: Exception) -> str:
    """In words why something could not be stored or read: one line, without the request that failed and its id."""
    text = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)
    start = text.find("AWS Error ")
    text = text[max(start, 0) :].partition(" (Request ID")[0]
    return text if len(text) <= MOST_WORDS else f"{text[:MOST_WORDS]}..."


class Entry(NamedTuple):
    """A file of a remote folder."""

    size: int  # bytes
    modified: float  # seconds since 1970, by the clock of the store


class RemoteFolder:
    """Reading and writing whole files; every method raises OSError with what the store said."""

    def __init__(self, uri: str):
        """UserError if nothing can be stored under such a URI, or its bucket cannot be reached."""
        from pyarrow import fs

        parts = urlsplit(uri)
        if parts.password:
            raise UserError(
                f"the URI of {parts.scheme}://...@{parts.hostname} holds a secret, which a run would store with its "
                "config; put it into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
            )
        bounded = uri
        if parts.scheme in ("gs", "gcs") and "retry_limit_seconds" not in parts.query:
            bounded += f"{'&' if parts.query else '?'}retry_limit_seconds={GCS_RETRY_SECONDS}"
        try:
            self._store, self._root = fs.FileSystem.from_uri(bounded)
        except (OSError, ValueError, NotImplementedError) as error:
            raise UserError(f"nothing can be stored in {uri!r}: {store_error_text(error)}; expected {FORMS}") from error
        if self._store.type_name not in KINDS:
            raise UserError(f"nothing can be stored in {uri!r}: expected {FORMS}")
        self.uri = uri
        self._closed = Event()

    def list(self) -> dict[str, Entry]:
        """All files in and below the folder, by their name from here; empty if there is no such folder."""
        from pyarrow import fs

        root = self._root.rstrip("/")
        found = self._store.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=True))
        return {
            info.path[len(root) + 1 :]: Entry(info.size, info.mtime_ns / 1e9)
            for info in found
            if info.type == fs.FileType.File and _is_plain(info.path[len(root) + 1 :])
        }

    def read(self, name: str) -> bytes:
        """All bytes of a file."""
        with self._store.open_input_stream(self._at(name)) as stream:
            return bytes(stream.read())

    def fetch(self, name: str, path: Path) -> None:
        """A copy of a file on this machine."""
        content = self.read(name)
        with atomic_file(path) as place:
            place.write_bytes(content)

    def put(self, path: Path, name: str, patient: bool = True) -> None:
        """A copy of a file of this machine, in place of what stood there.

        patient  whether a failure is tried again for a while, until the folder is closed
        """
        content = path.read_bytes()
        start, wait = time.monotonic(), FIRST_WAIT
        while True:
            try:
                return self._put(content, name)
            except OSError:
                if not patient or time.monotonic() - start > RETRY_SECONDS or self._closed.wait(wait):
                    raise
            wait *= 2

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, in this order."""
        for name in names:
            self._store.delete_file(self._at(name))

    def close(self) -> None:
        """Nothing is tried again from now on."""
        self._closed.set()

    def _put(self, content: bytes, name: str) -> None:
        if self._store.type_name == "local":
            with atomic_file(Path(self._at(name))) as place:
                place.write_bytes(content)
        else:
            # Not as a context: leaving it by an error would complete the upload of a part.
            stream = self._store.open_output_stream(self._at(name))
            stream.write(content)
            stream.close()

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _is_plain(name: str) -> bool:
    """Neither hidden nor, as an object may be called anything, outside of the folder once it is a path."""
    return all(part and not part.startswith(".") for part in name.split("/"))
