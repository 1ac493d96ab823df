"""What is in the way of joining a cluster, or of taking part in its work, is one sentence."""

import socket

import pytest

from arena.cluster import entry, joining
from arena.cluster.joining import check_answers, job_note
from arena.config.tournament import RayConfig
from arena.errors import UserError


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.1:6379", "head.example.org:6379", "ray://[::1]:10001"])
def test_addresses(address):
    assert RayConfig(address=address).address == address


@pytest.mark.parametrize("address", ["", "LOCAL", "head", "ray://head", "http://head:8265", "a b:1", "head:port"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match="expected local, auto, host:port or ray://host:port"):
        RayConfig(address=address)


def test_whole_processors_above_one():
    assert RayConfig(cpus_per_task=0.5).cpus_per_task == 0.5
    with pytest.raises(ValueError, match="whole processors only"):
        RayConfig(cpus_per_task=1.5)


def test_nobody_there(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(UserError, match=rf"^--flag: nobody answers at 127.0.0.1:{port} \(.*refused.*\)") as error:
            check_answers(address, "--flag")
        assert "\n" not in str(error.value)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(UserError):
        check_answers("auto", "--flag")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1/of/a/dashboard")
    check_answers("auto", "--flag")
    check_answers("local", "--flag")
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_answers(f"127.0.0.1:{server.getsockname()[1]}", "--flag")


def test_other_versions_are_said_in_a_line():
    message = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.12.1\n"
        "This process on node 10.0.0.2 was started with:\n    Ray: 2.60.1\n    Python: 3.11.7\n"
    )
    said = joining._reason(message)
    assert said == (
        "the cluster runs Ray 2.60.0 and Python 3.12.1, this process Ray 2.60.1 and Python 3.11.7; all machines need "
        "the same"
    )
    assert joining._reason("something else\nin lines") == "something else"


def test_a_ray_inside_a_job_is_said(monkeypatch):
    monkeypatch.delenv(joining.OF_A_JOB, raising=False)
    assert job_note("local") is None
    monkeypatch.setenv(joining.OF_A_JOB, "{}")
    assert "--ray.address auto is the cluster" in (job_note("local") or "")
    assert job_note("auto") is None


def test_a_node_is_compared_before_anything_is_unpickled(monkeypatch):
    monkeypatch.setattr(entry, "_approved", [])
    here = entry.environment()
    assert set(here) == {"arena", "torch", "numpy"}
    assert all(here.values())
    for name, value, said in (
        ("arena", "x", "its arena is not that of the driver"),
        ("torch", "1.0", f"it has torch {here['torch']}, the driver 1.0"),
    ):
        problem, result = entry.enter({**here, name: value}, "no.such.module", "nothing", [], b"no pickle")
        assert said in problem
        assert result is None
        assert "\n" not in problem
    monkeypatch.setattr(entry.importlib.util, "find_spec", lambda name: None)
    problem, _ = entry.enter(here, "no.such.module", "nothing", [], b"no pickle")
    assert "arena is not installed there; install it, or give ship-arena" in problem
    monkeypatch.undo()
    import pickle

    assert entry.enter(here, "operator", "concat", [1], pickle.dumps(([2],))) == ("", [1, 2])


def test_what_a_node_lacks_is_named(tmp_path):
    (tmp_path / "there").write_text("")
    here = entry.environment()
    assert entry.lacking(here, [str(tmp_path / "there")]) == ""
    assert f"it has no {tmp_path / 'absent'}, seen from" in entry.lacking(here, [str(tmp_path / "absent")])
