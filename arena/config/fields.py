"""What all sections of a config are made of: kinds of fields, the section itself, and an error of several fields."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _no_bool(value: object) -> object:
    # pydantic takes True for 1, and YAML 1.1 reads `on` and `yes` as True.
    if isinstance(value, bool):
        raise ValueError("expected a number; YAML reads on, off, yes and no as true or false")
    return value


def _address(value: str) -> str:
    if re.fullmatch(r"local|auto|(ray://)?([^\s/:]+|\[[0-9a-fA-F:.]+\]):\d+", value) is None:
        raise ValueError("expected local, auto, host:port or ray://host:port")
    return value


Count = Annotated[int, BeforeValidator(_no_bool)]
Number = Annotated[float, BeforeValidator(_no_bool)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Address = Annotated[str, AfterValidator(_address)]  # of a Ray, see arena.cluster.joining
IsolationLevel = Literal["none", "process", "sandbox"]  # see arena.agents.sandbox.isolation


class Section(BaseModel):
    """Immutable, and a field that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def cross_field_error(place: str, message: str, value: object) -> PydanticCustomError:
    """An error of several sections at once, blamed on the field at `place`."""
    return PydanticCustomError("sections", "{message}", {"message": message, "place": place, "value": value})
