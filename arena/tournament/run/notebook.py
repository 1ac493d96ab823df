"""Progress in a notebook: the text that a terminal would show, in one output that is replaced as it changes."""

import html
import sys
from io import StringIO
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 110  # columns


def in_notebook() -> bool:
    """Whether this is a kernel of Jupyter, which shows HTML, and no terminal."""
    module = sys.modules.get("IPython")
    shell: Any = module.get_ipython() if module is not None else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookLive:
    """As rich.live.Live for a `ProgressView`, in a notebook."""

    def __init__(self, renderable: "RenderableType", console: Console):
        self.console = console
        self._shown = renderable
        self._handle: Any = None

    def __enter__(self) -> Self:
        from IPython.display import display

        self._handle = display(self._output(), display_id=True)
        return self

    def __exit__(self, *raised: object) -> None:
        self.update(self._shown)

    def update(self, renderable: "RenderableType") -> None:
        """Replace what is shown."""
        self._shown = renderable
        self._handle.update(self._output())

    def _output(self) -> Any:
        from IPython.display import HTML

        text = StringIO()
        Console(file=text, width=WIDTH, force_jupyter=False).print(self._shown)
        return HTML(f"<pre style='line-height:1.3'>{html.escape(text.getvalue().rstrip())}</pre>")
