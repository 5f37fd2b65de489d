"""`copier-honeycomb terraform`: validated by the real provider, or at least against its schema."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from hooks.honeycomb.definitions import load
from hooks.honeycomb.terraform import blocks

from ..conftest import Render
from .conftest import FILES, Commands, Folder

PROVIDER: Final = "github.com/honeycombio/terraform-provider-honeycombio"
SCHEMA: Final = json.loads(Path(__file__).with_name("terraform_schema.json").read_text())
_OF_EACH_RESOURCE: Final = {"count", "depends_on", "for_each", "lifecycle"}


def check(body: list[tuple[str, Any]], schema: dict[str, Any], place: str) -> None:
    """Assert that the schema has each argument and block of `body`, and that none lacks."""
    names = {name.removeprefix('dynamic "').rstrip('"') for name, _ in body}
    names -= _OF_EACH_RESOURCE
    assert names <= schema.keys(), place
    assert {name for name, kind in schema.items() if kind == "required"} <= names, place
    for name, value in body:
        inner = schema.get(name.removeprefix('dynamic "').rstrip('"'))
        if isinstance(inner, dict):
            content = dict(value)["content"] if name.startswith("dynamic") else value
            check(content, inner, f"{place}.{name}")


def test_each_block_and_argument_is_one_of_the_provider(render: Render) -> None:
    definitions = load(render() / "honeycomb", "order-intake", "pro")
    labels: set[str] = set()
    kinds: set[str] = set()

    for header, body in blocks(definitions):
        _, kind, label = header.replace('"', "").split()
        labels.add(f"{kind} {label}")
        kinds.add(kind.removeprefix("honeycombio_"))
        check(body, SCHEMA[kind.removeprefix("honeycombio_")], label)

    assert kinds == SCHEMA.keys() - {"source"}
    assert len(labels) == len(list(blocks(definitions)))


def test_configuration_is_complete_and_contains_the_recipients(folder: Folder) -> None:
    trigger = {**FILES["triggers/errors.json"], "description": "Costs ${more}, 5 %{too}."}
    folder.write("triggers/errors.json", trigger)
    text = {"type": "text", "text_panel": {"content": "x"}, "position": None}
    folder.write("boards/notes.json", {"name": "Notes", "type": "flexible", "panels": [text]})

    result = Commands(folder.path).run("terraform", "--recipient", "email:me@example.com")

    assert (result.code, result.err) == (0, "")
    assert 'source  = "honeycombio/honeycombio"' in result.out
    assert 'api_url = "https://api.honeycomb.io"' in result.out
    assert 'description = "Costs $${more}, 5 %%{too}."' in result.out
    assert 'type   = "email"\n      target = "me@example.com"' in result.out
    assert "slo_id = honeycombio_slo.succeed.id" in result.out
    assert "target_percentage = 95.0" in result.out
    assert 'chart_type = "tsbar"' in result.out


def provider(tmp_path: Path) -> tuple[str, Path]:
    """The program of OpenTofu or Terraform, and the folder of the provider; skips if there are none."""
    program = shutil.which("tofu") or shutil.which("terraform")
    built = shutil.which("terraform-provider-honeycombio")
    if built is None:
        if shutil.which("go") is None:
            pytest.skip("needs the provider, or Go to build it")
        done = subprocess.run(
            ["go", "install", f"{PROVIDER}@v0.51.0"],
            env=os.environ | {"GOBIN": str(tmp_path)},
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"the provider cannot be built: {done.stderr.splitlines()[-1]}")
        built = str(tmp_path / "terraform-provider-honeycombio")
    if program is None:
        pytest.skip("needs OpenTofu or Terraform")
    return program, Path(built).parent


@pytest.mark.parametrize("plan", ["free", "pro"])
def test_real_provider_accepts_the_configuration(plan: str, render: Render, tmp_path: Path) -> None:
    program, folder = provider(tmp_path)
    printed = Commands(render(honeycomb_plan=plan)).run("terraform")
    (tmp_path / "main.tf").write_text(printed.out)
    (tmp_path / "rc").write_text(
        f'provider_installation {{\n  dev_overrides {{\n    "honeycombio/honeycombio" = "{folder}"\n  }}\n}}\n'
    )

    for arguments in (["validate"], ["fmt", "-check", "-diff"]):
        done = subprocess.run(
            [program, *arguments, "-no-color"],
            cwd=tmp_path,
            env=os.environ | {"TF_CLI_CONFIG_FILE": str(tmp_path / "rc")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stdout
