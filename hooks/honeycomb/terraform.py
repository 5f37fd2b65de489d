"""The definitions as a configuration of Terraform or OpenTofu.

https://registry.terraform.io/providers/honeycombio/honeycombio/latest/docs has the names of blocks and arguments;
some differ from those of the management API.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from .definitions import Definition, Definitions
from .plan import STATUS_COLUMN
from .remote import slug_of

VERSION: Final = "0.51"
"""Of the provider, with flexible boards as these files need them."""
# Names of fields in the management API, and in the provider.
_COLUMNS: Final = "sent"
_COLUMN: Final = f"honeycombio_column.{_COLUMNS}"
_SETTINGS: Final = {"utc_xaxis": "use_utc_xaxis", "overlaid_charts": "prefer_overlaid_charts"}
_CHART: Final = {"log_scale": "use_log_scale"}
_HEAD: Final = """\
# Generated from honeycomb/ by `copier-honeycomb terraform`. Do not use `apply` too: each would create the
# objects of the other again.
terraform {
  required_providers {
    honeycombio = {
      source  = "honeycombio/honeycombio"
      version = "~> %(version)s"
    }
  }
}

# A configuration key: export TF_VAR_honeycomb_config_key="$HONEYCOMB_CONFIG_KEY". Without api_key, the provider
# would read HONEYCOMB_API_KEY, which is the ingest key of the service.
variable "honeycomb_config_key" {
  type      = string
  sensitive = true
}

provider "honeycombio" {
  api_key = var.honeycomb_config_key
  api_url = "%(url)s"
  features {
    column {
      import_on_conflict = true
    }
  }
}

# For example [{ type = "email", target = "on-call@example.com" }]. Without any, nobody is notified, and burn
# alerts, which require one, are not created.
variable "recipients" {
  type = list(object({
    type   = string
    target = string
  }))
  default = %(recipients)s
}

# The dataset exists after the first trace.
locals {
  dataset = %(dataset)s
}
"""


class _Raw(str):
    """An expression, written as it is."""


_Block = tuple[str, "_Body"]
_Body = list[tuple[str, Any] | _Block]


def configuration(
    definitions: Definitions, service_name: str, url: str, recipients: Iterable[Mapping[str, Any]]
) -> str:
    """The whole configuration, one file."""
    head = _HEAD % {
        "version": VERSION,
        "url": url,
        "recipients": _value([dict(recipient) for recipient in recipients], 1),
        "dataset": _value(slug_of(service_name), 0),
    }
    return head + "".join(f"\n{_rendered(block)}" for block in blocks(definitions))


def blocks(definitions: Definitions) -> Iterator[_Block]:
    """The resources: each a header, and its arguments and nested blocks."""
    columns = sorted({*definitions.required_columns(), STATUS_COLUMN})
    types = {name: type_ for name in columns if (type_ := definitions.columns.type_of(name))}
    body: _Body = [
        ("for_each", types),
        ("dataset", _dataset()),
        ("name", _Raw("each.key")),
        ("type", _Raw("each.value")),
    ]
    yield _resource("column", _COLUMNS, body)
    status = _Raw(f'{_COLUMN}["{STATUS_COLUMN}"].name')
    body = [("dataset", _dataset()), ("name", "status"), ("column", status)]
    yield _resource("dataset_definition", "status", body)
    for definition in definitions.active():
        yield from _resources(definition, definitions)


def _resources(definition: Definition, definitions: Definitions) -> Iterator[_Block]:
    body = definition.body
    label = _label(definition.tag.partition("/")[2])
    needs = _needs(definition, definitions)
    common: _Body = [("dataset", _dataset()), ("description", body.get("description", ""))]
    match definition.kind:
        case "derived column":
            block: _Body = [*common, ("alias", body["alias"]), ("expression", body["expression"])]
            # A column that an SLO uses cannot be deleted before its replacement exists.
            block.append(("lifecycle", [("create_before_destroy", True)]))
            yield _resource("derived_column", body["alias"], [*block, *needs])
        case "SLO":
            alias = _label(body["sli"]["alias"])
            yield _resource(
                "slo",
                body["name"],
                [
                    *common,
                    ("name", body["name"]),
                    ("sli", _Raw(f"honeycombio_derived_column.{alias}.alias")),
                    ("target_percentage", body["target_per_million"] / 10_000),
                    ("time_period", body["time_period_days"]),
                    *_tags(body),
                ],
            )
        case "burn alert":
            yield _resource("burn_alert", label, [*common, *_burn_alert(body), *_recipients(body)])
        case "trigger":
            yield _resource(
                "trigger", label, [*common, *_trigger(body), *_recipients(body), *needs]
            )
        case "saved query":
            yield from _query(label, body["query"], body, needs)
        case "board":
            yield from _board(label, body, needs)


def _burn_alert(body: Mapping[str, Any]) -> _Body:
    fields: _Body = [
        ("slo_id", _Raw(f"honeycombio_slo.{_label(body['slo']['name'])}.id")),
        ("alert_type", body["alert_type"]),
    ]
    if not body.get("recipients"):
        # It requires a recipient.
        fields.insert(0, ("count", _Raw("length(var.recipients) > 0 ? 1 : 0")))
    for name in ("exhaustion_minutes", "budget_rate_window_minutes"):
        if name in body:
            fields.append((name, body[name]))
    if "budget_rate_decrease_threshold_per_million" in body:
        percent = body["budget_rate_decrease_threshold_per_million"] / 10_000
        fields.append(("budget_rate_decrease_percent", percent))
    return fields


def _trigger(body: Mapping[str, Any]) -> _Body:
    schedule = body.get("evaluation_schedule")
    return [
        ("name", body["name"]),
        ("query_json", _json(body["query"])),
        ("threshold", list(body["threshold"].items())),
        ("frequency", body.get("frequency", 900)),
        ("alert_type", body.get("alert_type", "on_change")),
        *([("disabled", True)] if body.get("disabled") else []),
        *(
            [("baseline_details", list(body["baseline_details"].items()))]
            if body.get("baseline_details")
            else []
        ),
        *([("evaluation_schedule", list(schedule["window"].items()))] if schedule else []),
        *_tags(body),
    ]


def _recipients(body: Mapping[str, Any]) -> Iterator[_Block]:
    for recipient in body.get("recipients") or ():
        yield (
            "recipient",
            [(name, recipient[name]) for name in ("id", "type", "target") if name in recipient],
        )
    if not body.get("recipients"):
        content: _Body = [
            ("type", _Raw("recipient.value.type")),
            ("target", _Raw("recipient.value.target")),
        ]
        yield 'dynamic "recipient"', [("for_each", _Raw("var.recipients")), ("content", content)]


def _query(
    label: str, query: Mapping[str, Any], annotation: Mapping[str, Any], needs: _Body
) -> Iterator[_Block]:
    yield _resource("query", label, [("dataset", _dataset()), ("query_json", _json(query)), *needs])
    yield _resource(
        "query_annotation",
        label,
        [
            ("dataset", _dataset()),
            ("query_id", _Raw(f"honeycombio_query.{label}.id")),
            ("name", annotation["name"]),
            ("description", annotation.get("description", "")),
        ],
    )


def _board(label: str, body: Mapping[str, Any], needs: _Body) -> Iterator[_Block]:
    panels: _Body = []
    for number, panel in enumerate(body["panels"], start=1):
        content: _Body = [("type", panel["type"])]
        if "position" in panel:
            content.append(("position", list(panel["position"].items())))
        if panel["type"] == "text":
            content.append(("text_panel", [("content", panel["text_panel"]["content"])]))
        elif panel["type"] == "slo":
            slo = _label(panel["slo_panel"]["slo"]["name"])
            content.append(("slo_panel", [("slo_id", _Raw(f"honeycombio_slo.{slo}.id"))]))
        else:
            name = f"{label}_{number}"
            query_panel = panel["query_panel"]
            yield from _query(name, query_panel["query"], query_panel["query_annotation"], needs)
            content.append(("query_panel", _query_panel(name, query_panel)))
        panels.append(("panel", content))
    presets: _Body = [
        ("preset_filter", list(preset.items())) for preset in body.get("preset_filters", ())
    ]
    yield _resource(
        "flexible_board",
        label,
        [
            ("name", body["name"]),
            ("description", body.get("description", "")),
            *_tags(body),
            *presets,
            *panels,
            *needs,
        ],
    )


def _query_panel(name: str, panel: Mapping[str, Any]) -> _Body:
    fields: _Body = [
        ("query_id", _Raw(f"honeycombio_query.{name}.id")),
        ("query_annotation_id", _Raw(f"honeycombio_query_annotation.{name}.id")),
        ("query_style", panel.get("query_style", "graph")),
    ]
    settings = panel.get("visualization_settings")
    if settings:
        content: _Body = [
            (_SETTINGS.get(field, field), value)
            for field, value in settings.items()
            if field != "charts"
        ]
        for chart in settings.get("charts", ()):
            fields_of_chart = [(_CHART.get(field, field), value) for field, value in chart.items()]
            content.append(("chart", fields_of_chart))
        fields.append(("visualization_settings", content))
    return fields


def _needs(definition: Definition, definitions: Definitions) -> _Body:
    """The columns that have to be created before an object that names them."""
    derived = {each.name for each in definitions.of("derived column")} & definition.columns()
    references = [f"honeycombio_derived_column.{_label(name)}" for name in sorted(derived)]
    return [("depends_on", [_Raw(name) for name in (_COLUMN, *references)])]


def _tags(body: Mapping[str, Any]) -> _Body:
    tags = {tag["key"]: tag["value"] for tag in body.get("tags", ())}
    return [("tags", tags)] if tags else []


def _dataset() -> _Raw:
    return _Raw("local.dataset")


def _resource(kind: str, name: str, body: _Body) -> _Block:
    return f'resource "honeycombio_{kind}" "{_label(name)}"', body


def _label(name: str) -> str:
    label = re.sub(r"\W+", "_", name.lower()).strip("_")
    return label if re.match("[a-z_]", label) else f"_{label}"


def _json(query: Mapping[str, Any]) -> _Raw:
    return _Raw(f"jsonencode({_value(query, 1)})")


def _rendered(block: _Block, indent: int = 0) -> str:
    """A block as `terraform fmt` formats it."""
    space = "  " * indent
    header, body = block
    lines = [f"{space}{header} {{"]
    attributes: list[tuple[str, str]] = []
    for name, value in body:
        if isinstance(value, list) and value and all(isinstance(each, tuple) for each in value):
            lines += _aligned(attributes, indent + 1)
            attributes = []
            lines.append(_rendered((name, value), indent + 1).rstrip("\n"))
        else:
            attributes.append((name, _value(value, indent + 1)))
    return "\n".join([*lines, *_aligned(attributes, indent + 1), f"{space}}}", ""])


def _aligned(attributes: Iterable[tuple[str, str]], indent: int) -> list[str]:
    """A line for each attribute. The equals signs of attributes in one line are below each other."""
    space, lines = "  " * indent, []
    for is_long, group in groupby(attributes, key=lambda each: "\n" in each[1]):
        listed = list(group)
        width = 0 if is_long else max(len(name) for name, _ in listed)
        lines += [f"{space}{name:{width}} = {value}" for name, value in listed]
    return lines


def _value(value: Any, indent: int) -> str:
    """A value as an expression. JSON is one, apart from templates in texts."""
    space = "  " * indent
    if isinstance(value, _Raw):
        return value
    if isinstance(value, Mapping):
        pairs = [(_key(name), _value(each, indent + 1)) for name, each in value.items()]
        return "\n".join(["{", *_aligned(pairs, indent + 1), f"{space}}}"])
    if isinstance(value, list):
        items = [_value(each, indent + 1) for each in value]
        if not any("\n" in item for item in items):
            return f"[{', '.join(items)}]"
        return "\n".join(["[", *(f"{space}  {item}," for item in items), f"{space}]"])
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("${", "$${").replace("%{", "%%{")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else json.dumps(name)
