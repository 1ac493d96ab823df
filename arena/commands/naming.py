"""A command that is also a script names itself, in its help, as it was called."""

from collections.abc import Sequence


def program(arguments: Sequence[str] | None, command: str) -> str | None:
    """The name of the program in its usage: the file that runs, for a script (`arguments` None), else the command."""
    return None if arguments is None else command


def description(text: str | None, arguments: Sequence[str] | None, script: str, command: str) -> str:
    """The help, whose examples call the script, with examples that call the command if that was called."""
    return (text or "") if arguments is None else (text or "").replace(f"python scripts/{script}", command)
