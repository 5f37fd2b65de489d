"""The syntax of Terraform and OpenTofu (HCL), formatted as `terraform fmt` does."""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any


class Raw(str):
    """An expression, written as it is."""


Block = tuple[str, "Body"]
"""A header, and the arguments and nested blocks."""
Body = list[tuple[str, Any] | Block]


def rendered(block: Block, indent: int = 0) -> str:
    """A block as `terraform fmt` formats it."""
    space = "  " * indent
    header, body = block
    lines = [f"{space}{header} {{"]
    attributes: list[tuple[str, str]] = []
    for name, value in body:
        if isinstance(value, list) and value and all(isinstance(each, tuple) for each in value):
            lines += _aligned(attributes, indent + 1)
            attributes = []
            lines.append(rendered((name, value), indent + 1).rstrip("\n"))
        else:
            attributes.append((name, expression(value, indent + 1)))
    return "\n".join([*lines, *_aligned(attributes, indent + 1), f"{space}}}", ""])


def _aligned(attributes: Iterable[tuple[str, str]], indent: int) -> list[str]:
    """A line for each attribute. The equals signs of attributes in one line are below each other."""
    space, lines = "  " * indent, []
    for is_long, group in groupby(attributes, key=lambda each: "\n" in each[1]):
        listed = list(group)
        width = 0 if is_long else max(len(name) for name, _ in listed)
        lines += [f"{space}{name:{width}} = {value}" for name, value in listed]
    return lines


def expression(value: Any, indent: int) -> str:
    """A value as an expression. JSON is one, apart from templates in texts."""
    space = "  " * indent
    if isinstance(value, Raw):
        return value
    if isinstance(value, Mapping):
        pairs = [(_key(name), expression(each, indent + 1)) for name, each in value.items()]
        return "\n".join(["{", *_aligned(pairs, indent + 1), f"{space}}}"])
    if isinstance(value, list):
        items = [expression(each, indent + 1) for each in value]
        if not any("\n" in item for item in items):
            return f"[{', '.join(items)}]"
        return "\n".join(["[", *(f"{space}  {item}," for item in items), f"{space}]"])
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("${", "$${").replace("%{", "%%{")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else json.dumps(name)
