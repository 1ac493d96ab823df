"""HTML pages that need no network: the templates, plotly.js inlined once, and numbers short enough to be mailed."""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

DIGITS = 5  # of a number in a chart: finer than a pixel


def render(template: str, **values: Any) -> str:
    """The named template as a page. Names and texts of a run are escaped wherever they stand."""
    from plotly.offline import get_plotlyjs

    # The full bundle: the basic one would draw some kinds of chart as lines without a word.
    return _environment().get_template(template).render(plotly_js=get_plotlyjs(), **values)


def breakable(name: str) -> "Markup":
    """A name that a narrow column may break after an underscore, and escaped."""
    from markupsafe import Markup

    return Markup("_<wbr>").join(name.split("_"))


def shortened(value: Any) -> Any:
    """The same lists and mappings with every float cut to DIGITS digits; records become mappings."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(item) for item in value]
    return value


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("arena.tournament.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment
