"""Finds the config files that come with the package by their names: `smoke` is configs/train/smoke.yaml."""

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from arena.errors import UserError

ConfigKind = Literal["train", "tournament", "market", "forecast"]
PACKAGE = Path(__file__).parents[1]
FOLDERS = (PACKAGE / "configs", PACKAGE.parent / "configs")  # of an installed package, of a checkout


def config_path(kind: ConfigKind, name_or_path: str | Path) -> Path:
    """The file that is meant: a path stays as it is, a plain name is that of a shipped config.

    kind          "train", "tournament", "market" or "forecast": the folder of the shipped configs
    name_or_path  "smoke", or a path: a file that exists, or anything with a suffix or a folder in it

        config_path("train", "smoke")       # .../configs/train/smoke.yaml
        config_path("train", "mine.yaml")   # mine.yaml
    """
    path = Path(name_or_path).expanduser()
    if path.is_file() or path.suffix or len(path.parts) > 1:
        return path
    shipped = shipped_configs(kind)
    if path.name in shipped:
        return shipped[path.name]
    close = get_close_matches(path.name, shipped, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UserError(
        f"{kind} config {str(name_or_path)!r}: no file and no shipped config has this name; {hint}"
        f"Give the path of a YAML file, or one of {', '.join(shipped) or '(none are installed)'}."
    )


def shipped_configs(kind: ConfigKind) -> dict[str, Path]:
    """The configs that come with the package, by name, in alphabetical order."""
    folder = next((folder / kind for folder in FOLDERS if (folder / kind).is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}
