"""One market for the eye: a table in text, or a figure of prices, positions and nav.

Letters: T bars shown so far, N agents, A assets.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # a market that is not drawn does not wait for matplotlib
    from matplotlib.figure import Figure

RENDER_MODES = ("human", "ansi", "rgb_array")
MAX_ASSETS = 8  # shown: more lines or columns cannot be told apart
SIZE, DPI = (9.0, 7.0), 100  # inches and dots per inch: 700 x 900 pixels


class Frame(NamedTuple):
    """One market at the close of a bar."""

    ref_price: np.ndarray  # [A]
    price: np.ndarray  # [A] displayed close
    position: np.ndarray  # [N, A] shares
    nav: np.ndarray  # [N]


def ansi(agents: Sequence[str], frames: Sequence[Frame], title: str) -> str:
    """The last of `frames` as text: a row per asset, a row per agent."""
    first, now = frames[0], frames[-1]
    num_assets = len(now.price)
    weight = _weights(now)
    lines = [title, f"{'asset':>10} {'price':>12} {'reference':>12} {'moved by agents':>16}"]
    for asset in range(min(num_assets, MAX_ASSETS)):
        moved = 1e4 * (now.price[asset] / now.ref_price[asset] - 1.0)
        lines.append(f"{asset:>10} {now.price[asset]:>12.4f} {now.ref_price[asset]:>12.4f} {moved:>13.1f} bp")
    if num_assets > MAX_ASSETS:
        lines.append(f"{'...':>10} {num_assets - MAX_ASSETS} more")
    lines.append(f"{'agent':>10} {'nav':>16} {'growth':>9} {'leverage':>9}  position [shares]")
    for seat, agent in enumerate(agents):
        growth = now.nav[seat] / first.nav[seat] - 1.0
        held = " ".join(f"{shares:.0f}" for shares in now.position[seat, :MAX_ASSETS])
        more = " ..." if num_assets > MAX_ASSETS else ""
        leverage = f"{np.abs(weight[seat]).sum():9.2f}" if now.nav[seat] > 0 else f"{'ruined':>9}"
        lines.append(f"{agent:>10} {now.nav[seat]:>16.2f} {growth:>+9.2%} {leverage}  {held}{more}")
    return "\n".join(lines) + "\n"


def draw(figure: "Figure", agents: Sequence[str], frames: Sequence[Frame], title: str) -> None:
    """Three panels on a matplotlib figure.

    Displayed prices over their reference (dotted), weights of all agents now, nav of all agents.
    """
    figure.clear()
    figure.suptitle(title)
    prices, weights, navs = figure.subplots(3, 1, height_ratios=(3, 2, 3))
    shown = np.stack([frame.price[:MAX_ASSETS] for frame in frames])  # [T, A]
    reference = np.stack([frame.ref_price[:MAX_ASSETS] for frame in frames])
    for asset in range(shown.shape[1]):
        (line,) = prices.plot(shown[:, asset] / reference[0, asset], label=f"asset {asset}")
        prices.plot(reference[:, asset] / reference[0, asset], ":", color=line.get_color())
    prices.set_ylabel("price / first")
    prices.legend(loc="upper left", fontsize="x-small", ncols=4)

    image = weights.imshow(_weights(frames[-1]), cmap="RdBu", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    every = 1 + len(agents) // 12  # names that fit beside the rows
    weights.set_yticks(range(0, len(agents), every), agents[::every], fontsize="x-small")
    weights.set_ylabel("weight by asset")
    figure.colorbar(image, ax=weights)

    nav = np.stack([frame.nav for frame in frames])  # [T, N]
    for seat, agent in enumerate(agents):
        navs.plot(nav[:, seat] / nav[0, seat], label=agent)
    navs.set_ylabel("nav / first")
    navs.set_xlabel("step")
    if every == 1:
        navs.legend(loc="upper left", fontsize="x-small", ncols=5)


def rgb_array(agents: Sequence[str], frames: Sequence[Frame], title: str) -> np.ndarray:
    """The figure as pixels, uint8 [H, W, 3]; needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw(figure, agents, frames, title)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


class Screen:
    """A window that follows the market; `opened` is False where matplotlib finds no display to open one on."""

    def __init__(self) -> None:
        from matplotlib import pyplot
        from matplotlib.backends import BackendFilter, backend_registry

        # Asking for the backend makes matplotlib look for a display and a toolkit; Agg is what is left without.
        interactive = [name.lower() for name in backend_registry.list_builtin(BackendFilter.INTERACTIVE)]
        self.opened = pyplot.get_backend().lower() in interactive
        self._figure = pyplot.figure(figsize=SIZE, dpi=DPI, layout="constrained") if self.opened else None

    def show(self, agents: Sequence[str], frames: Sequence[Frame], title: str) -> None:
        """Draw anew and let the window breathe."""
        from matplotlib import pyplot

        if self._figure is not None:
            draw(self._figure, agents, frames, title)
            self._figure.show()
            pyplot.pause(0.001)

    def close(self) -> None:
        """Take the window away; a second call does nothing."""
        from matplotlib import pyplot

        if self._figure is not None:
            pyplot.close(self._figure)
            self._figure = None


def _weights(frame: Frame) -> np.ndarray:
    """Position value / nav [N, A]; 0 for a ruined agent."""
    solvent = frame.nav > 0
    return frame.position * frame.ref_price * (solvent / np.where(solvent, frame.nav, 1.0))[:, None]
