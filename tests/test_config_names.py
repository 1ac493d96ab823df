"""A plain name is a shipped config, anything else a path."""

from pathlib import Path

import pytest

from arena.cli import main
from arena.config import names
from arena.config.files import read_config
from arena.config.names import config_path, shipped_configs
from arena.errors import UserError
from arena.rl.app.config import load_train_config

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("kind", ["train", "tournament", "market", "forecast"])
def test_every_shipped_config_has_a_name(kind):
    files = sorted((ROOT / "configs" / kind).glob("*.yaml"))
    assert files
    assert [config_path(kind, path.stem) for path in files] == files


def test_shipped_configs_can_be_read_wherever_the_program_is_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in shipped_configs("train").values():
        evaluation = load_train_config(path, ["--run.iterations", "1"]).run.evaluation.tournament
        assert evaluation is None or read_config(evaluation)
    for name in ("tournament", "market"):
        for path in shipped_configs(name).values():
            read_config(path)


def test_a_path_stays_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("smoke.yaml", "mine/smoke", "../smoke", tmp_path / "smoke"):
        assert config_path("train", path) == Path(path)
    (tmp_path / "smoke").mkdir()  # a folder is no config
    assert config_path("train", "smoke") == ROOT / "configs/train/smoke.yaml"
    (tmp_path / "smoke").rmdir()
    (tmp_path / "smoke").write_text("run: {minutes: 1}\n")
    assert config_path("train", Path("smoke")) == Path("smoke")


@pytest.mark.parametrize(
    ("name", "said"), [("smoek", "did you mean 'smoke'?"), ("zzz", "one of benchmark, equities,"), ("", "''")]
)
def test_an_unknown_name_is_refused_with_the_names_there_are(name, said):
    with pytest.raises(UserError) as refusal:
        config_path("train", name)
    assert said in str(refusal.value)
    assert "tensor_ppo" in str(refusal.value)


def test_an_installed_package_has_them_inside(tmp_path, monkeypatch):
    (tmp_path / "arena/configs/train").mkdir(parents=True)
    (tmp_path / "arena/configs/train/mine.yaml").write_text("")
    monkeypatch.setattr(names, "FOLDERS", (tmp_path / "arena/configs", tmp_path / "configs"))
    assert config_path("train", "mine") == tmp_path / "arena/configs/train/mine.yaml"


@pytest.mark.parametrize("command", ["train", "tournament"])
def test_the_commands_take_names(command, capsys):
    assert main([command, "--config", "defalt"]) == 2
    assert f"{command} config 'defalt': no file" in capsys.readouterr().err
