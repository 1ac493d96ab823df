"""Every exception that a command may raise on purpose becomes one sentence and a code."""

import pytest

from arena.errors import UserError
from arena.exit_codes import with_exit_code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("seats: use two"), 2, "error: seats: use two\n"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), 2, "error: a.csv: No such file or directory\n"),
        (OSError("no space"), 2, "error: no space\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_exception_becomes_a_sentence_and_a_code(capsys, error, code, said):
    @with_exit_code
    def command():
        raise error

    assert command() == code
    assert capsys.readouterr().err == said


def test_a_mistake_of_the_program_is_not_hidden():
    @with_exit_code
    def command():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command()
