import re

import pytest

from arena.errors import UserError
from arena.rl.app.config import TrainConfig, dump_train_config, load_train_config, make_train_config, parse_flags


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
        ("run: {minutes: 1}", ["--run.minutes.x", "1"], "run.minutes.x: minutes is 1 and has no fields"),
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


def test_a_config_is_a_name_a_file_a_mapping_or_a_config(tmp_path):
    smoke = make_train_config("smoke")
    assert smoke.run.name == "smoke"
    assert make_train_config(smoke) == smoke
    assert make_train_config(written(tmp_path, dump_train_config(smoke))) == smoke
    assert make_train_config({**smoke.sections, "run": smoke.run, "league": smoke.league}) == smoke
    with pytest.raises(UserError, match="config is a int, expected"):
        make_train_config(3)


def test_changes_are_dotted_fields_or_sections_and_leave_the_callers_mapping_alone():
    sections = {"run": {"minutes": 1}, "training": {"lr": 1e-3, "gamma": 0.9}}
    for changes in ({"training.lr": 1e-4}, {"training": {"lr": 1e-4}}):
        assert make_train_config(sections, changes).sections == {"training": {"lr": 1e-4, "gamma": 0.9}}
    assert sections == {"run": {"minutes": 1}, "training": {"lr": 1e-3, "gamma": 0.9}}


def test_an_end_that_is_asked_for_takes_the_place_of_the_files(tmp_path):
    """A file that stops after one minute must not end a training that was asked to run for five iterations."""
    path = written(tmp_path, "run: {minutes: 1, iterations: 3, seed: 7}\n")
    for config in (
        make_train_config(path, {"run.env_steps": 50}),
        make_train_config(path, {"run": {"env_steps": 50}}),
        load_train_config(path, ["--run.env_steps", "50"]),
    ):
        assert (config.run.minutes, config.run.iterations, config.run.env_steps) == (None, None, 50)
        assert config.run.seed == 7
    assert make_train_config(path, {"run.seed": 8}).run.minutes == 1


@pytest.mark.parametrize(
    ("config", "changes", "said"),
    [
        ({"run": {"minuts": 1}}, {}, "config: run.minuts: unknown key 'minuts'; did you mean 'minutes'?"),
        ({"run": {"minutes": 1}}, {"run.minutes": -1}, "with the arguments of the call: run.minutes: Input should be"),
        ("smoek", {}, "did you mean 'smoke'?"),
        ({"run": {"minutes": 1, "evaluation": {"tournament": "alnoe"}}}, {}, "did you mean 'alone'?"),
    ],
)
def test_a_mistake_in_a_call_names_the_field(config, changes, said):
    with pytest.raises(UserError) as refusal:
        make_train_config(config, changes)
    assert said in str(refusal.value)


def test_what_yaml_cannot_hold_is_refused_before_it_is_stored():
    config = TrainConfig(run={"minutes": 1}, training={"lr": object()})
    with pytest.raises(UserError, match="cannot be stored as YAML"):
        dump_train_config(config)
