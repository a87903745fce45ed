"""What a command prints with --json is what docs/output.schema.json says; and the schema of a config."""

from __future__ import annotations

import json
from functools import cache

import jsonschema
from conftest import ROOT

from landscape_cli.config import config_schema

SCHEMA = json.loads((ROOT / "docs" / "output.schema.json").read_text(encoding="utf-8"))


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    # made once: jsonschema.validate holds the whole schema against that of schemas each time, 0.3 s per document
    schema = {**SCHEMA, "$ref": f"#/$defs/{name}"}
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def validate(document: object, name: str) -> None:
    """Raise a ValidationError where the document is not the one that the schema calls `name`."""
    _validator(name).validate(document)


@cache
def config_validator() -> jsonschema.Draft202012Validator:
    """The JSON Schema of a config, as an editor uses it."""
    return jsonschema.Draft202012Validator(config_schema())
