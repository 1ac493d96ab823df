"""The parser of a command that is also a script: it names itself, in its help, as it was called."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from arena.errors import UserError


class ScriptParser(argparse.ArgumentParser):
    """Raises UserError where argparse would end the program.

    text       the help, whose examples call the script
    arguments  of the command; None: those of the script, in `sys.argv`
    """

    def __init__(self, text: str | None, arguments: Sequence[str] | None, script: str, command: str) -> None:
        text = text or ""
        super().__init__(
            None if arguments is None else command,
            description=text if arguments is None else text.replace(f"python scripts/{script}", command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(message)

    def require_positive(self, options: argparse.Namespace, *names: str) -> None:
        """UserError for the first of these options that is below 1; None is left out."""
        for name in names:
            value = getattr(options, name)
            if value is not None and value < 1:
                self.error(f"--{name.replace('_', '-')} is {value}, expected at least 1")

    def require_device(self, device: str) -> None:
        """UserError if it is a GPU that torch does not see."""
        import torch  # here, so that --help and refusals of flags do not wait for it

        if device.startswith("cuda") and not torch.cuda.is_available():
            self.error(
                "--device is cuda, but this torch sees no GPU; use --device cpu or install a CUDA build of torch"
            )
