"""Files travel by content: what a job names is found again on a machine that has none of it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from arena.cluster import file_bundles
from arena.cluster.file_bundles import MissingFile, pack, unpack
from arena.config.tournament import TournamentConfig
from arena.tournament.play.job import Job
from arena.tournament.play.match import Entrant
from arena.tournament.play.unit_forecasts import ForecastRules
from arena.tournament.run.job_files import job_file_bundles, local_paths, relocate_paths, relocate_spec
from arena.tournament.setup.plan import match_rules, synthetic_params


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """A cache of this test's own, and a process that remembers nothing of files."""
    monkeypatch.setattr(file_bundles.tempfile, "tempdir", str(tmp_path))
    file_bundles._known_digest.cache_clear()


def same(content):
    return content


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "mine"
    (made / "inner").mkdir(parents=True)
    (made / "a.bin").write_bytes(b"\x00\x01")
    (made / "inner" / "b.txt").write_text("b")
    return made


def test_a_file_or_folder_that_is_there_is_read_there(folder):
    for path in (folder, folder / "a.bin"):
        bundle = pack(path, same)

        def unasked(content):
            raise AssertionError("it is there")

        assert unpack(bundle, unasked) == str(path)


def test_what_is_lacking_or_differs_is_unpacked_once(folder):
    whole, file = pack(folder, same), pack(folder / "a.bin", same)
    (folder / "a.bin").write_bytes(b"another content under the same name")
    asked = []

    def get(content):
        asked.append(content)
        return content

    for _ in range(2):
        place, copy = Path(unpack(whole, get)), Path(unpack(file, get))
    assert len(asked) == 2
    assert (place.name, copy.name) == ("mine", "a.bin"), "a suffix says what a file is"
    assert (place / "a.bin").read_bytes() == copy.read_bytes() == b"\x00\x01"
    assert (place / "inner" / "b.txt").read_text() == "b"
    assert not list(file_bundles.cache_folder().glob(".draft-*"))


def test_a_store_is_taken_as_it_is_where_it_is(folder):
    store = pack(folder, same, is_store=True)
    (folder / "added by a worker").write_text("")
    assert unpack(store, same) == str(folder)


def test_what_is_too_large_must_be_on_a_shared_disk(folder, monkeypatch):
    monkeypatch.setattr(file_bundles, "MOST_BYTES", 2)
    bundle = pack(folder, same)
    assert bundle.content is None
    assert unpack(bundle, same) == str(folder)
    folder.rename(folder.with_name("gone"))
    with pytest.raises(MissingFile, match=r"has no .*mine, which is too large .* put it on a disk that all nodes see"):
        unpack(bundle, same)


def test_a_cache_that_others_can_write_to_is_not_trusted(tmp_path, folder):
    bundle = pack(folder / "a.bin", same)
    (folder / "a.bin").unlink()
    cache = tmp_path / f"arena-files-{os.getuid()}"
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(MissingFile, match="can be written to by others"):
        unpack(bundle, same)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("/a/x.py:Agent", "/new/x.py:Agent"),
        ("policy:/a/x.pt", "policy:/new/1/x.pt"),
        ("rllib:/a/x@main", "rllib:/new/x@main"),
        ("/a/x.pt+persistence+/a/x.pt2", "/new/1/x.pt+persistence+/new/x.pt2"),
        ("momentum", "momentum"),
        ("/b/a/x.py:Agent", "/b/a/x.py:Agent"),
        ("/a/x.pyc", "/a/x.pyc"),
    ],
)
def test_paths_in_specs(spec, expected):
    places = {"/a/x.py": "/new/x.py", "/a/x": "/new/x", "/a/x.pt": "/new/1/x.pt", "/a/x.pt2": "/new/x.pt2"}
    assert relocate_spec(spec, places) == expected


def test_a_job_is_whole_where_the_drivers_files_are_not(tmp_path, folder):
    """Every kind of file that a job can name; afterwards nothing of the old place is in it."""
    old = tmp_path / "old"
    old.mkdir()
    for name in ("mine.py", "policy.pt", "toto.pt", "kronos.pt2", "weights.npz"):
        (old / name).write_text(name)
    (old / "checkpoint" / "inner").mkdir(parents=True)
    (old / "checkpoint" / "inner" / "state.pkl").write_text("state")
    (old / "tables").mkdir()
    (old / "tables" / "0.npy").write_text("table")
    config = TournamentConfig()
    both = f"{old}/toto.pt+{old}/kronos.pt2"
    job = Job(
        rules=replace(match_rules(config, 1.0), forecast=ForecastRules(folder=old / "tables")),
        entrants={
            "mine": Entrant(f"{old}/mine.py:Mine", {"speed": 0.5, "weights": f"{old}/weights.npz"}),
            "policy": Entrant(f"policy:{old}/policy.pt"),
            "rllib": Entrant(f"rllib:{old}/checkpoint@main"),
            "follower": Entrant("mean_variance", {"forecaster": both}),
            "cash": Entrant("cash"),
        },
        warmup=64,
        num_units=1,
        paths_bytes=0,
        synthetic=synthetic_params(config),
        forecasters={both: "fingerprint", "persistence": "another"},
    )
    sent = job_file_bundles(job, same)
    assert relocate_paths(job, local_paths(sent, same)) == job, "nothing moves on the machine of the driver"
    old.rename(tmp_path / "gone")
    file_bundles._known_digest.cache_clear()
    found = relocate_paths(job, local_paths(sent, same))
    assert str(old) not in repr(found)
    mine, follower = found.entrants["mine"], found.entrants["follower"]
    assert Path(mine.agent.removesuffix(":Mine")).read_text() == "mine.py"
    assert Path(mine.params["weights"]).read_text() == "weights.npz"
    assert mine.params["speed"] == 0.5
    assert Path(found.entrants["policy"].agent.removeprefix("policy:")).read_text() == "policy.pt"
    checkpoint = Path(found.entrants["rllib"].agent.removeprefix("rllib:").removesuffix("@main"))
    assert (checkpoint / "inner" / "state.pkl").read_text() == "state"
    assert [Path(part).read_text() for part in follower.params["forecaster"].split("+")] == ["toto.pt", "kronos.pt2"]
    assert found.forecasters == {follower.params["forecaster"]: "fingerprint", "persistence": "another"}
    assert (found.rules.forecast.folder / "0.npy").read_text() == "table"
    assert found.entrants["cash"] == job.entrants["cash"]
