"""Form of the files in `honeycomb/`, as Honeycomb's API accepts it: https://api-docs.honeycomb.io.

References between files are names instead of ids: an SLO names its derived column, a panel its query.
"""

from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind: TypeAlias = Literal["derived column", "SLO", "burn alert", "trigger", "board", "saved query"]

EXISTENCE_FILTERS: Final = ("exists", "does-not-exist")
LIST_FILTERS: Final = ("in", "not-in")
ORDER_FILTERS: Final = (">", ">=", "<", "<=")
TEXT_FILTERS: Final = (
    "contains",
    "does-not-contain",
    "ends-with",
    "does-not-end-with",
    "starts-with",
    "does-not-start-with",
)
NUMERIC_OPERATIONS: Final = (
    r"(AVG|HEATMAP|MAX|MIN|P(001|01|05|10|20|25|50|75|80|90|95|99|999)|RATE_(AVG|MAX|SUM)|SUM)"
)
EVENT_OPERATIONS: Final = ("COUNT", "CONCURRENCY")
DEFAULT_TIME_RANGE: Final = 7200
_DAY: Final = 86_400


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Tag(_Model):
    key: str = Field(pattern="^[a-z]{1,32}$")
    value: str = Field(pattern="^[a-z][a-z0-9/-]{1,127}$")


# Honeycomb accepts ten; two are added, to recognise the object and its changes.
_Tags: TypeAlias = Annotated[list[Tag], Field(max_length=8)]
_Description: TypeAlias = Annotated[str, Field(max_length=1023)]
# Honeycomb accepts 255 and 1,023 characters; the rest is for the record, which other objects have in a tag.
_ShortDescription: TypeAlias = Annotated[str, Field(max_length=225)]
_MarkedDescription: TypeAlias = Annotated[str, Field(max_length=740)]


RecipientType: TypeAlias = Literal[
    "email", "slack", "pagerduty", "webhook", "msteams", "msteams_workflow"
]


class Recipient(_Model):
    id: str | None = None
    type: RecipientType | None = None
    target: str | None = None
    details: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_named_once(self) -> Self:
        named_by = self.model_fields_set - {"details"}
        if not all(getattr(self, name) for name in named_by):
            named_by = set()
        if named_by != {"id"} and not {"type"} <= named_by <= {"type", "target"}:
            raise ValueError("needs an id, or a type and a target")
        return self


class Filter(_Model):
    column: str
    op: str
    value: Any = None

    @model_validator(mode="after")
    def _value_fits_op(self) -> Self:
        if self.op in EXISTENCE_FILTERS:
            if "value" in self.model_fields_set:
                raise ValueError(f"{self.column} {self.op} does not accept a value")
        elif self.op in LIST_FILTERS:
            if not isinstance(self.value, list) or not self.value:
                raise ValueError(f"{self.column} {self.op} needs a list")
        elif self.op in (*ORDER_FILTERS, *TEXT_FILTERS, "=", "!="):
            if self.value is None or isinstance(self.value, list):
                raise ValueError(f"{self.column} {self.op} needs a value")
        else:
            raise ValueError(f"{self.op!r} is not a filter of Honeycomb")
        return self


class Calculation(_Model):
    op: str = Field(pattern=f"^({NUMERIC_OPERATIONS}|COUNT|CONCURRENCY|COUNT_DISTINCT)$")
    column: str | None = None
    name: str | None = None
    filters: list[Filter] = []
    filter_combination: Literal["AND", "OR"] = "AND"

    @model_validator(mode="after")
    def _column_fits_op(self) -> Self:
        if self.column is None and self.op not in EVENT_OPERATIONS:
            raise ValueError(f"{self.op} needs a column")
        if self.column is not None and self.op == "CONCURRENCY":
            raise ValueError("CONCURRENCY does not accept a column")
        return self


class NamedExpression(_Model):
    name: str = Field(min_length=1)
    expression: str = Field(min_length=1, max_length=4095)


class Order(_Model):
    op: str | None = None
    column: str | None = None
    order: Literal["ascending", "descending"] = "ascending"


class Having(_Model):
    calculate_op: str
    column: str | None = None
    op: Literal["=", "!=", ">", ">=", "<", "<="]
    value: float


class Query(_Model):
    breakdowns: list[str] = []
    calculated_fields: list[NamedExpression] = []
    calculations: list[Calculation] = [Calculation(op="COUNT")]
    compare_time_offset_seconds: int | None = None
    end_time: int | None = None
    filter_combination: Literal["AND", "OR"] = "AND"
    filters: list[Filter] = []
    formulas: list[NamedExpression] = []
    granularity: int | None = None
    havings: list[Having] = []
    limit: int | None = Field(default=None, ge=1, le=1000)
    orders: list[Order] = []
    start_time: int | None = None
    time_range: int = Field(default=DEFAULT_TIME_RANGE, ge=1)


class DerivedColumn(_Model):
    alias: str = Field(min_length=1, max_length=255)
    expression: str = Field(min_length=1, max_length=4095)
    description: _ShortDescription = ""


class _SLI(_Model):
    alias: str


class SLO(_Model):
    name: str = Field(min_length=1, max_length=120)
    description: _Description = ""
    sli: _SLI
    target_per_million: int = Field(ge=0, le=999_999)
    time_period_days: int = Field(ge=1)
    tags: _Tags = []


class _Named(_Model):
    name: str


class _BurnAlert(_Model):
    slo: _Named
    description: _MarkedDescription = ""
    recipients: list[Recipient] = []


class ExhaustionAlert(_BurnAlert):
    alert_type: Literal["exhaustion_time"]
    exhaustion_minutes: int = Field(ge=0)


class BudgetRateAlert(_BurnAlert):
    alert_type: Literal["budget_rate"]
    budget_rate_window_minutes: int = Field(ge=60)
    budget_rate_decrease_threshold_per_million: int = Field(ge=1, le=1_000_000)


class _Threshold(_Model):
    op: Literal[">", ">=", "<", "<="]
    value: float
    exceeded_limit: int = Field(default=1, ge=1, le=5)


class Trigger(_Model):
    name: str = Field(min_length=1, max_length=120)
    description: _Description = ""
    query: Query
    threshold: _Threshold
    frequency: int = Field(default=900, ge=60, le=_DAY, multiple_of=60)
    recipients: list[Recipient] = []
    alert_type: Literal["on_change", "on_true"] = "on_change"
    baseline_details: dict[str, Any] | None = None
    disabled: bool = False
    evaluation_schedule: dict[str, Any] | None = None
    evaluation_schedule_type: Literal["frequency", "window"] = "frequency"
    tags: _Tags = []


class Position(_Model):
    x_coordinate: int = Field(default=0, ge=0)
    y_coordinate: int = Field(default=0, ge=0)
    width: int = Field(default=0, ge=0)
    height: int = Field(default=0, ge=0)

    def overlaps(self, other: Self) -> bool:
        return (
            self.x_coordinate < other.x_coordinate + other.width
            and other.x_coordinate < self.x_coordinate + self.width
            and self.y_coordinate < other.y_coordinate + other.height
            and other.y_coordinate < self.y_coordinate + self.height
        )


class _Panel(_Model):
    position: Position | None = None


class _Text(_Model):
    content: str = Field(min_length=1, max_length=10_000)


class TextPanel(_Panel):
    type: Literal["text"]
    text_panel: _Text


class _SLOReference(_Model):
    slo: _Named


class SLOPanel(_Panel):
    type: Literal["slo"]
    slo_panel: _SLOReference


class _Annotation(_Model):
    name: str = Field(min_length=1, max_length=320)
    description: _Description = ""


class Chart(_Model):
    chart_index: int = Field(default=0, ge=0)
    chart_type: Literal["default", "line", "stacked", "stat", "tsbar", "cbar", "cpie"] = "default"
    log_scale: bool = False
    omit_missing_values: bool = False


class _Visualization(_Model):
    charts: list[Chart] = []
    hide_compare: bool = False
    hide_hovers: bool = False
    hide_markers: bool = False
    overlaid_charts: bool = False
    utc_xaxis: bool = False


class _Query(_Model):
    query: Query
    query_annotation: _Annotation
    query_style: Literal["graph", "table", "combo"] = "graph"
    visualization_settings: _Visualization = _Visualization()


class QueryPanel(_Panel):
    type: Literal["query"]
    query_panel: _Query


class PresetFilter(_Model):
    column: str
    alias: str = Field(min_length=1, max_length=50)


class Board(_Model):
    name: str = Field(min_length=1, max_length=255)
    type: Literal["flexible"]
    description: str = Field(default="", max_length=1024)
    layout_generation: Literal["auto", "manual"] = "auto"
    panels: list[Annotated[QueryPanel | SLOPanel | TextPanel, Field(discriminator="type")]]
    preset_filters: list[PresetFilter] = Field(default=[], max_length=5)
    tags: _Tags = []


class SavedQuery(_Model):
    name: str = Field(min_length=1, max_length=320)
    description: _MarkedDescription
    query: Query


Object: TypeAlias = (
    DerivedColumn | SLO | ExhaustionAlert | BudgetRateAlert | Trigger | Board | SavedQuery
)
