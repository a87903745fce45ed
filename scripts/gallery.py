"""Make docs/gallery from the files of `make demo`: scan what they lack, then run the commands of docs/pictures.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "pictures.md"
MOST_BYTES = 3_000_000

# beyond what `make demo` makes; a file that is finished is left as it is
SCANS = (
    "landscape curvature configs/digits.yaml demo/digits.h5 --set 'curvature.measures=[default, spectral_density]' -q",
    "landscape scan configs/digits.yaml -o demo/retrained.h5 --checkpoint demo/last.pt --overwrite -q",
    "landscape scan configs/digits.yaml -o demo/map.h5 --set axes.x.num=11 --set axes.y.num=11 "
    "--set curvature.map=true -q",
    "mkdir -p demo/epochs",
    "landscape scan configs/digits.yaml --checkpoint demo/path/epoch_00[0-35].pt demo/path/epoch_010.pt "
    "demo/path/epoch_020.pt -o 'demo/epochs/{stem}.h5' --set checkpoint.expect=null --set axes.x.num=21 "
    "--set axes.y.num=21 -q",
)


def commands(page: str) -> list[str]:
    """The commands of a page in Markdown: the lines of its ``sh`` blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [re.sub(r"\s+#\s.*", "", line) for line in lines]


def main() -> int:
    """Run everything; returns the exit code."""
    (ROOT / "docs" / "gallery").mkdir(exist_ok=True)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in (*SCANS, *commands(PAGE.read_text(encoding="utf-8"))):
        print(command, flush=True)
        result = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, check=False)
        if result.returncode:
            return result.returncode
    total = sum(path.stat().st_size for path in (ROOT / "docs" / "gallery").iterdir())
    print(f"docs/gallery: {total / 1e6:.2f} MB")
    return int(total > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
