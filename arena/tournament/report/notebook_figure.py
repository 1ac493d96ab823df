"""A matplotlib figure that a notebook shows although pyplot does not know it."""

import io

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A Figure with the picture that IPython asks an object for."""

    def _repr_png_(self) -> bytes:
        place = io.BytesIO()
        self.savefig(place, format="png", dpi=110)
        return place.getvalue()
