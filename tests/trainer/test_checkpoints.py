"""A checkpoint is whole or not there."""

import pytest

from arena.errors import UserError
from arena.rl.app import checkpoints
from arena.rl.app.checkpoints import TrainingState


def write(content):
    return lambda folder: (folder / "weights").write_text(content)


def test_the_last_is_found_and_older_ones_go(tmp_path):
    for iteration in (2, 4, 6):
        checkpoints.save(tmp_path, TrainingState(iteration=iteration), write(str(iteration)))
    assert [path.name for path in checkpoints.numbered(tmp_path)] == ["000004", "000006"]
    folder, state = checkpoints.last(tmp_path)
    assert state.iteration == 6
    assert (folder / "weights").read_text() == "6"


def test_one_that_was_cut_off_does_not_count(tmp_path):
    checkpoints.save(tmp_path, TrainingState(iteration=1), write("whole"))

    def cut_off(folder):
        (folder / "weights").write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, TrainingState(iteration=2), cut_off)
    assert checkpoints.last(tmp_path)[1].iteration == 1
    again = checkpoints.save(tmp_path, TrainingState(iteration=2), write("whole"))
    assert (again / "weights").read_text() == "whole"


def test_the_best_stays_when_others_go(tmp_path):
    checkpoints.keep_as_best(tmp_path, checkpoints.save(tmp_path, TrainingState(iteration=1), write("1")))
    for iteration in (2, 3, 4):
        last = checkpoints.save(tmp_path, TrainingState(iteration=iteration), write(str(iteration)))
    assert (tmp_path / "checkpoints/best/weights").read_text() == "1"
    checkpoints.keep_as_best(tmp_path, last)
    assert (tmp_path / "checkpoints/best/weights").read_text() == "4"


def test_without_one_there_is_nothing_to_go_on_from(tmp_path):
    with pytest.raises(UserError, match="no checkpoint was written"):
        checkpoints.last(tmp_path)
