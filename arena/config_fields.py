"""What all sections of a config are made of: kinds of fields, the section itself, and an error of several fields."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _no_bool(value: object) -> object:
    # pydantic takes True for 1, and YAML 1.1 reads `on` and `yes` as True.
    if isinstance(value, bool):
        raise ValueError("expected a number; YAML reads on, off, yes and no as true or false")
    return value


Count = Annotated[int, BeforeValidator(_no_bool)]
Number = Annotated[float, BeforeValidator(_no_bool)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
# Of a Ray: one of our own, the one of this machine or job, a head node, or a head node's server of clients.
Address = Annotated[str, Field(pattern=r"^(local|auto|(ray://)?[^\s/:]+:\d+|(ray://)?\[[0-9a-fA-F:.]+\]:\d+)$")]
IsolationLevel = Literal["none", "process", "sandbox"]  # see arena.agents.isolation


class Section(BaseModel):
    """Immutable, and a field that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def refusal(place: str, message: str, value: object) -> PydanticCustomError:
    """An error of several sections at once, blamed on the field at `place`."""
    return PydanticCustomError("sections", "{message}", {"message": message, "place": place, "value": value})
