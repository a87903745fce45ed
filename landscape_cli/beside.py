"""What a scan measures beside its grid: the sections radius and curvature of the YAML."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from landscape_cli.axes import AxesConfig, AxisConfig, Selection
from landscape_cli.components import Component, MetricName, Section, named_components
from landscape_cli.grid import MAX_SLICES

MAX_PARTS = 16  # bits of an integer hold the signs


class RadiusConfig(Section):
    """A line of relative noise on the weights in many directions, for the adaptive radius: fills /radius of the file.

    With ``parts: 1`` the same as a scan of its own with the axis ``{start: 0.01, stop: 3, num: 25, spacing: log,
    direction: {_target_: random, normalization: weight}}``.
    """

    slices: int = Field(20, gt=0, le=MAX_SLICES, description="Random directions; one gives no error bar")
    seed: int | None = Field(None, ge=0, description="Of the directions; by default that of slices")
    tau: PositiveFloat = Field(0.1, allow_inf_nan=False, description="The rise of the loss at the radius")
    start: PositiveFloat = Field(0.01, allow_inf_nan=False, description="The least noise, relative to the weights")
    stop: PositiveFloat = Field(3.0, allow_inf_nan=False, description="The most")
    num: int = Field(25, gt=1, le=1_000_000, description="Points from start to stop, evenly spaced on a log scale")
    parameters: Selection | None = Field(None, description="Only these get noise")
    parts: int | None = Field(
        None,
        ge=1,
        le=MAX_PARTS,
        description="Of the data, each with signs of its own for the noise of every direction, which makes the error "
        "bar smaller; by default 16, and 1 where batchnorm is recalibrate",
    )

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        self.axes()  # with the checks of an axis
        return self

    def num_parts(self, batchnorm: str) -> int:
        """The parts of the data, for a policy of BatchNorm: to estimate its statistics costs as much for each part."""
        if self.parts is not None:
            return self.parts
        return 1 if batchnorm == "recalibrate" else MAX_PARTS

    def axes(self) -> AxesConfig:
        """The line as axes of a scan."""
        parameters = {} if self.parameters is None else {"parameters": self.parameters.model_dump()}
        direction = {"_target_": "random", "normalization": "weight", **parameters}
        axis = {"start": self.start, "stop": self.stop, "num": self.num, "spacing": "log", "direction": direction}
        return AxesConfig(x=AxisConfig.model_validate(axis))


class ObjectiveConfig(Section):
    """What training has added to the loss."""

    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="λ of λ/2·‖θ‖², as in torch.optim.SGD; not the decoupled decay of AdamW, which no loss has"
    )
    parameters: Selection | None = Field(None, description="Only these are decayed")


class MapConfig(Section):
    """λ_min and λ_max at every point of the grid, each to a tolerance."""

    max_products: PositiveInt = Field(60, description="Products with the Hessian at one point, at most")
    tolerance: PositiveFloat = Field(0.01, description="Of the residuals, relative to the largest eigenvalue in size")


class CurvatureConfig(Section):
    """Measures of the loss at the checkpoint from the model itself: fills /curvature of the file."""

    split: MetricName | None = Field(None, description="Of the data; by default train, or the first split")
    num_examples: PositiveInt | None = Field(None, description="The first ones of the split; null = all")
    parameters: Selection | None = Field(None, description="Only these are differentiated by")
    objective: ObjectiveConfig = ObjectiveConfig()
    precision: Literal["float32", "float64"] | None = Field(
        None, description="By default float64 where evaluation.precision is, else float32"
    )
    hvp: Literal["auto", "double_backward", "forward_over_reverse", "finite_difference"] = Field(
        "auto", description="How the Hessian is multiplied; auto is double backward, and differences where that fails"
    )
    measures: dict[MetricName, Component] = Field(
        default_factory=lambda: {"default": Component.model_validate("default")},
        description="A list of names, or a mapping name → component; default and all stand for several",
    )
    map: MapConfig | None = Field(None, description="true for the extreme eigenvalues at every point of the grid")

    @field_validator("measures", mode="before", json_schema_input_type=dict[MetricName, Component] | list[Component])
    @classmethod
    def _name_measures(cls, measures: object) -> object:
        return named_components(measures)

    @field_validator("map", mode="before", json_schema_input_type=bool | MapConfig | None)
    @classmethod
    def _switch_map(cls, value: object) -> object:
        return switched(value)


def switched(value: object) -> object:
    """A section that is switched on by ``true`` and off by ``false``.

    Raises:
        ValueError: It is something else.
    """
    if value is not None and not isinstance(value, bool | dict | Section):
        raise ValueError(f"found {value!r}; expected true, false or a mapping")
    return {} if value is True else None if value is False else value
