"""Write docs/config.schema.json and docs/output.schema.json; with --check, fail where they are out of date."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from landscape_cli.cli.output_schema import output_schema
from landscape_cli.config import config_schema

DOCS = Path(__file__).resolve().parent.parent / "docs"


def main() -> int:
    """Write or check; returns the exit code."""
    stale = []
    for name, schema in (("config.schema.json", config_schema()), ("output.schema.json", output_schema())):
        path, text = DOCS / name, json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path))
    if stale:
        print(f"out of date: {', '.join(stale)}; run: make schemas")
    return len(stale)


if __name__ == "__main__":
    sys.exit(main())
