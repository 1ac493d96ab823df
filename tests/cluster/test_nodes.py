"""A cluster whose nodes lack something: it is said in a sentence, and nothing is tried again and again."""

import json
import re

import pytest
from nodes_setup import FIELD, ROOT, digest_of, said_at_the_end, write_config

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


def test_no_processors(make_nodes, tmp_path):
    nodes = make_nodes(0)
    run = tmp_path / "runs" / "0001-faults"
    driver = nodes.drive("--config", write_config(tmp_path), "--out", run.parent, "--ray.wait-seconds", "5")
    said = said_at_the_end(driver, code=1)
    assert (
        "none of the 1 nodes of the cluster has 1 CPUs for a task; the largest has 0 CPUs; waiting at most 5 s" in said
    )
    assert "waited 5 s for another: add nodes" in said
    assert f"--resume {run}" in said

    driver = nodes.drive("--resume", run, "--ray.wait-seconds", "100")
    wait_for_events(run, "waiting", 2, driver)
    nodes.add()
    said_at_the_end(driver)
    assert (run / "report.html").is_file()


def test_another_arena_is_refused_unless_this_one_is_sent(make_nodes, tmp_path, expected, monkeypatch):
    """On the node is a package of the same name and version, with one line more in one of its files."""
    other = tmp_path / "other" / "arena"
    other.parent.mkdir()
    for path in sorted((ROOT / "arena").rglob("*.py")):
        copy = other / path.relative_to(ROOT / "arena")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    nodes = make_nodes(0)
    with monkeypatch.context() as there:
        there.setenv("PYTHONPATH", str(other.parent))
        nodes.add()
    runs = tmp_path / "runs"
    driver = nodes.drive("--config", write_config(tmp_path), "--out", runs)
    said = said_at_the_end(driver, code=1)
    assert "cannot take part: its arena is not that of the driver; install the same version, or give ship-arena" in said
    assert said.count("cannot take part") == 1
    assert "Traceback" not in said
    said_at_the_end(nodes.drive("--resume", runs / "0001-faults", "--ray.ship-arena"))
    assert digest_of(runs) == expected


def test_files_of_the_driver_are_enough(make_nodes, tmp_path, expected, monkeypatch):
    """The agent's file and the tables are where the driver is, and gone before a worker looks for them."""
    import pyarrow as pa

    from arena.config.flags import load_config, override
    from arena.tournament.run.workers import open_workers
    from arena.tournament.setup.plan import make_plan, resolve_paths
    from arena.tournament.store.units import digest

    nodes = make_nodes(1)
    config = resolve_paths(load_config(write_config(tmp_path), []))
    config = override(config, ["--ray.address", nodes.address])
    plan = make_plan(config)
    with open_workers(plan.job, config.ray, len(plan.units), "play") as play:
        (tmp_path / "agents.py").unlink()
        results = [tables.results for _, tables in play(plan.units)]
    table = pa.concat_tables(results)
    assert set(table["reason"].to_pylist()) == {""}, "no forfeits"
    assert digest(table) == expected


def test_a_training_names_the_file_that_a_node_lacks(make_nodes, tmp_path):
    """The driver has it in its folder; workers, without a job that sends it, run in another one."""
    (tmp_path / "mine.py").write_text(FIELD)
    nodes = make_nodes(0)
    opponents = ["--environment.env_config.opponents", "[mine.py:Slow]", "--environment.env_config.num_opponents", "1"]
    config = ROOT / "configs" / "train" / "tensor_ppo.yaml"
    driver = nodes.drive("--config", config, "--run.out", "runs", "--run.minutes", "1", *opponents, script="train.py")
    said = said_at_the_end(driver, code=2)
    assert re.search(r"error: --run.address \S+: node \S+ cannot take part: it has no mine.py, seen from /", said)
    assert "Traceback" not in said


def wait_for_events(run, name, count, driver):
    import time

    deadline = time.monotonic() + 120
    while True:
        events = [json.loads(line)["event"] for line in (run / "log.jsonl").read_text().splitlines()]
        if events.count(name) >= count:
            return
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
