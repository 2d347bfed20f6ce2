"""JSON schema and reference page, generated from the spec's models."""

from __future__ import annotations

from functools import cache
from typing import Any

from repository_builder.spec.model import Spec


@cache
def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a spec, for editors and other tools."""
    schema = Spec.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "triton-repo spec"}


def reference_page() -> str:
    """The Markdown page `docs/spec.md`: every type and field with its default and meaning."""
    schema = json_schema()
    parts = [_HEADER, _section("Spec", schema)]
    parts += [_section(name, definition) for name, definition in schema["$defs"].items()]
    return "\n".join(parts)


_HEADER = """# The spec

Generated from `repository_builder/spec/model.py` (`triton-repo schema --markdown > docs/spec.md`); do not edit.

A spec is a YAML file. Relative paths count from its folder. Unknown keys are refused. The smallest one:

```yaml
models:
  digits:
    source: {onnx: digits.onnx}
```
"""


def _section(name: str, definition: dict[str, Any]) -> str:
    lines = [f"## {name}", "", str(definition.get("description", "")).strip(), ""]
    fields = definition.get("properties", {})
    if fields:
        required = set(definition.get("required", []))
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [_row(key, field, required=key in required) for key, field in fields.items()]
        lines.append("")
    return "\n".join(lines)


def _row(key: str, field: dict[str, Any], *, required: bool) -> str:
    default = "**required**" if required else f"`{_plain(field.get('default'))}`"
    meaning = " ".join(str(field.get("description", "")).split())
    return f"| `{key}` | {_type(field).replace('|', 'or')} | {default} | {meaning.replace('|', chr(92) + '|')} |"


def _plain(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    return str(value)


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in field:
        return " | ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return " | ".join(_type(option) for option in field["anyOf"] if option.get("type") != "null")
    if field.get("type") == "array":
        items = field.get("items") or (field.get("prefixItems") or [{}])[0]
        return f"list of {_type(items)}"
    if "additionalProperties" in field and isinstance(field["additionalProperties"], dict):
        return f"mapping of name to {_type(field['additionalProperties'])}"
    return str(field.get("const") or field.get("format") or field.get("type", "any"))
