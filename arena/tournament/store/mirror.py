"""A copy of a run folder that outlives the machine of the run: each unit is put there as soon as it is stored here.

The two sides hold the same files under the same names, so either is enough to go on from. What lies in units/ and
paths/ never changes once it is there; all else is small, and is put when the run ends or stops. A new run that has a
mirror carries random letters in its name (`run_folder.create_run`), as an object store cannot reserve a name: that is
why two drivers that know nothing of each other never meet in one folder.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from arena.config.files import read_config
from arena.config.tournament import TournamentConfig
from arena.errors import UserError
from arena.tournament.store.remote_folder import RemoteFolder, child_uri, parent_uri, store_error_text
from arena.tournament.store.run_folder import AGENTS
from arena.tournament.store.units import StorageError, unit_files
from arena.tournament.types import Unit

SAME = ("config.yaml", "environment.json")  # what a unit holds depends on these alone: equal ones can be merged
BEGUN = (*SAME, "command.txt", "ranking.json")  # what every run has from its first moment
IMMUTABLE = ("units/", "paths/")
THREADS = 8  # an object store answers in tens of milliseconds, whatever the size of a unit
MOST_PENDING = 64  # units that are stored here and not yet there; then the run waits


class Mirror:
    """The copy of one run. Its methods raise StorageError, in a sentence, where the copy cannot be kept."""

    def __init__(self, folder: RemoteFolder, run: Path):
        self._folder, self._run = folder, run
        self._pool = ThreadPoolExecutor(THREADS, "mirror")
        self._pending: deque[Future[None]] = deque()
        self.broken = False  # something could not be put, and nothing more will be tried

    @property
    def uri(self) -> str:
        """Of the copy: what `--resume` takes on any machine."""
        return self._folder.uri

    def join(self) -> None:
        """Make both sides hold the units that either has. UserError if another run lies there."""
        there = self._listed()
        for name in SAME:
            if name in there and self._read(name) != (self._run / name).read_bytes():
                raise UserError(f"{self.uri} holds another run than {self._run}: its {name} differs")
        here = _files(self._run)
        self._each(self._fetch, [name for name in there if name.startswith(IMMUTABLE) and name not in here])
        missing = [name for name in here if name not in there]
        for name in [*BEGUN, *(name for name in here if name.startswith(f"{AGENTS}/"))]:
            if name in missing:
                self._put(name, patient=False)  # a wrong bucket is told at once
        for part in ("paths/", "units/"):  # a unit counts as soon as its rows are there, so they go last
            self._each(self._put, [name for name in missing if name.startswith(part)])

    def put_unit(self, unit: Unit) -> None:
        """Put what is stored of a unit, in the background; tells what went wrong with an earlier one."""
        names = [name for name in unit_files(unit) if (self._run / name).exists()]
        self._pending.append(self._pool.submit(self._put_in_order, names))
        while self._pending and (self._pending[0].done() or len(self._pending) > MOST_PENDING):
            self._pending.popleft().result()

    def wait(self) -> None:
        """Until every unit that was given is there."""
        while self._pending:
            self._pending.popleft().result()

    def drop_units(self, units: Sequence[Unit]) -> None:
        """Remove all that was put of these units, results first."""
        if not units:
            return
        self.wait()
        names = {name for unit in units for name in unit_files(unit)}.intersection(self._listed())
        with self._told(f"remove what no longer counts from {self.uri}"):
            self._folder.remove(sorted(names, key=lambda name: not name.startswith("units/")))

    def finish(self) -> None:
        """Wait, then put all that is not of single units: ranking, report, log."""
        self.wait()
        self._each(self._put, [name for name in _files(self._run) if not name.startswith(IMMUTABLE)])

    def close(self) -> None:
        """Give up what is still pending."""
        self._folder.close()
        self._pool.shutdown(cancel_futures=True)

    def _each(self, act: Callable[[str], None], names: Iterable[str]) -> None:
        for future in [self._pool.submit(act, name) for name in names]:
            future.result()

    def _put_in_order(self, names: Sequence[str]) -> None:
        for name in names:
            self._put(name)

    def _put(self, name: str, patient: bool = True) -> None:
        with self._told(f"put {name} into {self.uri}"):
            self._folder.put(self._run / name, name, patient)

    def _fetch(self, name: str) -> None:
        with self._told(f"copy {name} from {self.uri} to {self._run}"):
            self._folder.fetch(name, self._run / name)

    def _read(self, name: str) -> bytes:
        with self._told(f"read {name} in {self.uri}"):
            return self._folder.read(name)

    def _listed(self) -> list[str]:
        with self._told(f"look into {self.uri}"):
            return sorted(self._folder.list())

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.broken = True
            self._folder.close()  # the other threads need not find out for themselves
            raise StorageError(f"cannot {what}: {store_error_text(error)}") from error


@contextmanager
def open_mirror(run: Path, uri: str | None) -> Iterator[Mirror | None]:
    """The copy of a run in the folder at `uri`; None without one, or if that is where the run lies itself.

    UserError if nothing can be stored there.
    """
    own = child_uri(uri, run.name) if uri else None
    if own is None or own == run.resolve().as_uri():
        yield None
        return
    mirror = Mirror(RemoteFolder(own), run)
    try:
        yield mirror
    finally:
        mirror.close()


def read_remote_config(uri: str) -> TournamentConfig:
    """The config of a run that lies behind a URI, whose copy is to be kept there."""
    folder = RemoteFolder(uri)
    with TemporaryDirectory() as place:
        path = Path(place) / "config.yaml"
        try:
            folder.fetch("config.yaml", path)
        except OSError as error:
            raise UserError(
                f"{uri}: cannot read a config.yaml there ({store_error_text(error)}); give the folder of a run, "
                "such as s3://BUCKET/runs/0001-default-1a2b3c4d"
            ) from error
        saved = read_config(path)
    return saved.model_copy(update={"mirror": parent_uri(uri)[0]})


def fetch_run(uri: str, out: Path, left_out: tuple[str, ...] = ()) -> Path:
    """OUT/NAME with what the run behind a URI has, but for names that begin with one of `left_out`.

    What is there already is kept, if it is not older. UserError if it belongs to another run.
    """
    folder, run = RemoteFolder(uri), out / parent_uri(uri)[1]
    try:
        there = folder.list()
        for name in SAME:
            if name in there and (run / name).exists() and (run / name).read_bytes() != folder.read(name):
                raise UserError(f"{run} is the folder of another run than {uri}; choose another with --out DIR")
        wanted = [
            name
            for name, entry in sorted(there.items())
            if not name.startswith(left_out) and not _is_as_good(run / name, name, entry.modified)
        ]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda name: folder.fetch(name, run / name), wanted))
    except OSError as error:
        raise UserError(
            f"cannot copy {uri} to {run}: {store_error_text(error)}; choose a folder with --out DIR"
        ) from error
    return run


def _is_as_good(path: Path, name: str, modified: float) -> bool:
    return path.exists() and (name.startswith(IMMUTABLE) or path.stat().st_mtime >= modified)


def _files(run: Path) -> list[str]:
    """Names of all files of a run folder that are worth keeping, from there."""
    found = (path for path in run.rglob("*") if path.is_file() and path.suffix != ".corrupt")
    return sorted(path.relative_to(run).as_posix() for path in found if not path.name.startswith("."))
