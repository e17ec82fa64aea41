"""The base class of all settings, and types that several of them use."""

from typing import Annotated, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from curate.imported import IMPORT_NAME, is_import_name

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
COLUMN_NAME = "^[a-z][a-z0-9_]*$"


def _import_name(text: str) -> str:
    if not is_import_name(text):
        raise ValueError("expected MODULE:NAME, as in my_package.scores:Sharpness")
    return text


ImportName = Annotated[
    str,
    AfterValidator(_import_name),
    WithJsonSchema({"type": "string", "pattern": f"^{IMPORT_NAME}$"}),
]
"""A function or class of users', as MODULE:NAME; see `curate.imported`."""


class Model(BaseModel):
    """A frozen model; an unknown key is an error, and defaults are validated like values."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        kinds = _kinds(cls.model_fields[info.field_name or ""].annotation)
        values = value if isinstance(value, list | tuple) else (value,)
        if kinds & {int, float} and bool not in kinds and any(isinstance(x, bool) for x in values):
            raise ValueError("input should be a number")
        return value


def _kinds(annotation: object) -> set[object]:
    """The types in an annotation."""
    if get_origin(annotation) is Literal:
        return set()
    inner = get_args(annotation)
    return set().union(*map(_kinds, inner)) if inner else {annotation}
