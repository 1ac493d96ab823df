import re

import pytest

from arena.errors import UserError
from arena.trainer.config import dump_train_config, load_train_config, parse_flags


def written(tmp_path, text):
    path = tmp_path / "train.yaml"
    path.write_text(text)
    return path


def test_flags_change_any_section_and_numbers_are_numbers(tmp_path):
    path = written(tmp_path, "run: {minutes: 1}\ntraining: {lr: 1e-3}\n")
    flags = ["--run.seed=7", "--training.minibatch-size", "512", "--environment.env_config.num_agents", "4"]
    config = load_train_config(path, flags)
    assert config.run.seed == 7
    assert config.sections == {
        "training": {"lr": 1e-3, "minibatch_size": 512},
        "environment": {"env_config": {"num_agents": 4}},
    }


def test_what_is_saved_is_read_back(tmp_path):
    config = load_train_config(
        written(tmp_path, "run: {iterations: 3}\nleague: {scripted: [random]}\nlearners: {num_learners: 2}\n"), []
    )
    again = written(tmp_path, dump_train_config(config))
    assert load_train_config(again, []) == config


@pytest.mark.parametrize(
    ("text", "flags", "said"),
    [
        ("run: {minuts: 1}", [], "train.yaml:1: run.minuts: unknown key 'minuts'; did you mean 'minutes'?"),
        ("algorithm: PPO", [], "train.yaml:1: run: expected iterations, env_steps or minutes"),
        ("run:\n  minutes: -1", [], "train.yaml:2: run.minutes: Input should be greater than 0 (got -1)"),
        ("run: {minutes: 1}\nleague: {samplin: x}", [], "train.yaml:2: league.samplin: unknown key 'samplin'"),
        ("run: {minutes: 1}", ["--minutes", "2"], "command line: '--minutes' is not understood"),
        ("run: {minutes: 1}", ["--run.minutes"], "command line: --run.minutes lacks a value"),
        ("run: {minutes: 1}", ["--run.minutes.x", "1"], "--run.minutes.x: minutes is 1 and has no fields"),
        ("run: {minutes: 1}", ["--run.seed", "[1"], "command line: --run.seed: '[1' is no value"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(tmp_path, text, flags, said):
    with pytest.raises(UserError) as refusal:
        load_train_config(written(tmp_path, text), flags)
    line = str(refusal.value)
    assert "\n" not in line
    assert re.sub(r"^.*train.yaml", "train.yaml", line).startswith(said) or said in line


def test_a_flag_is_a_path_and_a_value():
    assert parse_flags(["--a.b-c", "[1, 2]", "--d.e=x"]) == [(["a", "b_c"], [1, 2]), (["d", "e"], "x")]
