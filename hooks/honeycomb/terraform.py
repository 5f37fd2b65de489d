"""The definitions as a configuration of Terraform or OpenTofu.

https://github.com/honeycombio/terraform-provider-honeycombio/tree/main/docs has the names of blocks and
arguments; some differ from those of the management API.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from .definitions import Definition, Definitions
from .hcl import Block, Body, Raw, expression, rendered
from .plan import STATUS_COLUMN
from .remote import slug_of

VERSION: Final = "0.51"
"""Of the provider, with flexible boards as these files need them."""
_COLUMNS: Final = "sent"
_COLUMN: Final = f"honeycombio_column.{_COLUMNS}"
# Names of fields in the management API, and in the provider.
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


def configuration(
    definitions: Definitions, service_name: str, url: str, recipients: Iterable[Mapping[str, Any]]
) -> str:
    """The whole configuration, one file."""
    head = _HEAD % {
        "version": VERSION,
        "url": url,
        "recipients": expression([dict(recipient) for recipient in recipients], 1),
        "dataset": expression(slug_of(service_name), 0),
    }
    return head + "".join(f"\n{rendered(block)}" for block in blocks(definitions))


def blocks(definitions: Definitions) -> Iterator[Block]:
    """The resources: each a header, and its arguments and nested blocks."""
    columns = sorted({*definitions.required_columns(), STATUS_COLUMN})
    types = {name: type_ for name in columns if (type_ := definitions.columns.type_of(name))}
    body: Body = [
        ("for_each", types),
        ("dataset", _dataset()),
        ("name", Raw("each.key")),
        ("type", Raw("each.value")),
    ]
    yield _resource("column", _COLUMNS, body)
    status = Raw(f'{_COLUMN}["{STATUS_COLUMN}"].name')
    body = [("dataset", _dataset()), ("name", "status"), ("column", status)]
    yield _resource("dataset_definition", "status", body)
    for definition in definitions.active():
        yield from _resources(definition, definitions)


def _resources(definition: Definition, definitions: Definitions) -> Iterator[Block]:
    body = definition.body
    label = _label(definition.tag.partition("/")[2])
    needs = _needs(definition, definitions)
    common: Body = [("dataset", _dataset()), ("description", body.get("description", ""))]
    match definition.kind:
        case "derived column":
            block: Body = [*common, ("alias", body["alias"]), ("expression", body["expression"])]
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
                    ("sli", Raw(f"honeycombio_derived_column.{alias}.alias")),
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


def _burn_alert(body: Mapping[str, Any]) -> Body:
    fields: Body = [
        ("slo_id", Raw(f"honeycombio_slo.{_label(body['slo']['name'])}.id")),
        ("alert_type", body["alert_type"]),
    ]
    if not body.get("recipients"):
        # It requires a recipient.
        fields.insert(0, ("count", Raw("length(var.recipients) > 0 ? 1 : 0")))
    for name in ("exhaustion_minutes", "budget_rate_window_minutes"):
        if name in body:
            fields.append((name, body[name]))
    if "budget_rate_decrease_threshold_per_million" in body:
        percent = body["budget_rate_decrease_threshold_per_million"] / 10_000
        fields.append(("budget_rate_decrease_percent", percent))
    return fields


def _trigger(body: Mapping[str, Any]) -> Body:
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


def _recipients(body: Mapping[str, Any]) -> Iterator[Block]:
    for recipient in body.get("recipients") or ():
        yield (
            "recipient",
            [(name, recipient[name]) for name in ("id", "type", "target") if name in recipient],
        )
    if not body.get("recipients"):
        content: Body = [
            ("type", Raw("recipient.value.type")),
            ("target", Raw("recipient.value.target")),
        ]
        yield 'dynamic "recipient"', [("for_each", Raw("var.recipients")), ("content", content)]


def _query(
    label: str, query: Mapping[str, Any], annotation: Mapping[str, Any], needs: Body
) -> Iterator[Block]:
    yield _resource("query", label, [("dataset", _dataset()), ("query_json", _json(query)), *needs])
    yield _resource(
        "query_annotation",
        label,
        [
            ("dataset", _dataset()),
            ("query_id", Raw(f"honeycombio_query.{label}.id")),
            ("name", annotation["name"]),
            ("description", annotation.get("description", "")),
        ],
    )


def _board(label: str, body: Mapping[str, Any], needs: Body) -> Iterator[Block]:
    panels: Body = []
    for number, panel in enumerate(body["panels"], start=1):
        content: Body = [("type", panel["type"])]
        if panel.get("position"):
            content.append(("position", list(panel["position"].items())))
        if panel["type"] == "text":
            content.append(("text_panel", [("content", panel["text_panel"]["content"])]))
        elif panel["type"] == "slo":
            slo = _label(panel["slo_panel"]["slo"]["name"])
            content.append(("slo_panel", [("slo_id", Raw(f"honeycombio_slo.{slo}.id"))]))
        else:
            name = f"{label}_{number}"
            query_panel = panel["query_panel"]
            yield from _query(name, query_panel["query"], query_panel["query_annotation"], needs)
            content.append(("query_panel", _query_panel(name, query_panel)))
        panels.append(("panel", content))
    presets: Body = [
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


def _query_panel(name: str, panel: Mapping[str, Any]) -> Body:
    fields: Body = [
        ("query_id", Raw(f"honeycombio_query.{name}.id")),
        ("query_annotation_id", Raw(f"honeycombio_query_annotation.{name}.id")),
        ("query_style", panel.get("query_style", "graph")),
    ]
    settings = panel.get("visualization_settings")
    if settings:
        content: Body = [
            (_SETTINGS.get(field, field), value)
            for field, value in settings.items()
            if field != "charts"
        ]
        for chart in settings.get("charts", ()):
            fields_of_chart = [(_CHART.get(field, field), value) for field, value in chart.items()]
            content.append(("chart", fields_of_chart))
        fields.append(("visualization_settings", content))
    return fields


def _needs(definition: Definition, definitions: Definitions) -> Body:
    """The columns that have to be created before an object that names them."""
    derived = {each.name for each in definitions.of("derived column")} & definition.columns()
    references = [f"honeycombio_derived_column.{_label(name)}" for name in sorted(derived)]
    return [("depends_on", [Raw(name) for name in (_COLUMN, *references)])]


def _tags(body: Mapping[str, Any]) -> Body:
    tags = {tag["key"]: tag["value"] for tag in body.get("tags", ())}
    return [("tags", tags)] if tags else []


def _dataset() -> Raw:
    return Raw("local.dataset")


def _resource(kind: str, name: str, body: Body) -> Block:
    return f'resource "honeycombio_{kind}" "{_label(name)}"', body


def _label(name: str) -> str:
    label = re.sub(r"\W+", "_", name.lower()).strip("_")
    return label if re.match("[a-z_]", label) else f"_{label}"


def _json(query: Mapping[str, Any]) -> Raw:
    return Raw(f"jsonencode({expression(query, 1)})")
