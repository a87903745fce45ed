"""Moving pictures: the landscape along training on one scale, or a body that turns."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from landscape_cli.analysis.captions import shortened
from landscape_cli.analysis.pictures.panels import common_scale
from landscape_cli.analysis.pictures.styles import style_of
from landscape_cli.analysis.pictures.table import usual_kind
from landscape_cli.analysis.plot import drawing, options_of, plot
from landscape_cli.errors import OutputError, UsageError
from landscape_cli.storage import replace_file
from landscape_cli.surface import Surface

SUFFIXES = (".gif", ".mp4")
_TURN = 72  # pictures of a full turn
_LAST = 8  # how many times longer the last picture of a path of training stays
_COLORS = 255
_RATE_OF_PATH, _RATE_OF_TURN, _MOST_FPS = 4.0, 18.0, 50


def animate(
    surface: Surface | Mapping[str, Surface],
    path: str | os.PathLike[str],
    *,
    kind: str | None = None,
    fps: float | None = None,
    dpi: float = 100,
    **options: Any,
) -> None:
    """Draw several surfaces one after the other on one scale, or one as a body that turns once about itself.

    Args:
        surface: Several by name, in their order; or one.
        path: .gif, or .mp4 where the program ffmpeg is there. An older file is replaced whole.
        kind: See `plot`; of a single surface always ``"surface3d"``.
        fps: Pictures per second, above 0 and at most 50; by default 4 of several surfaces and 18 of one that turns.
        dpi: Pixels per inch.
        options: See `plot`.

    Raises:
        UsageError: See `plot`; there is no ffmpeg.
        OutputError: The file cannot be written.
    """
    path = Path(path)
    surfaces = {"": surface} if isinstance(surface, Surface) else dict(surface)
    if path.suffix.lower() == ".mp4" and shutil.which("ffmpeg") is None:
        raise UsageError(f"{path}: needs the program ffmpeg", hint="Install it, or write a .gif.")
    rate = fps if fps is not None else (_RATE_OF_PATH if len(surfaces) > 1 else _RATE_OF_TURN)
    if not 0 < rate <= _MOST_FPS:
        raise UsageError(f"fps: found {rate:g}; expected more than 0, and at most {_MOST_FPS}")
    with drawing(style_of(options.get("style", "paper"))):
        frames = list(
            _along_path(surfaces, kind, dpi, options) if len(surfaces) > 1 else _turning(surfaces, kind, dpi, options)
        )
    last = _LAST if len(surfaces) > 1 else 1
    is_gif = path.suffix.lower() == ".gif"
    replace_file(path, _gif(frames, rate, last) if is_gif else _mp4(path, frames, rate, last))


def _along_path(
    surfaces: Mapping[str, Surface], kind: str | None, dpi: float, options: Mapping[str, Any]
) -> Iterator[Image.Image]:
    """A picture of each surface, all on one scale."""
    usual = {usual_kind(each, options.get("slice_index")) for each in surfaces.values()}
    kind = kind or (usual.pop() if len(usual) == 1 else "filled")
    scale = common_scale(surfaces, kind, options_of(kind, options))
    for index, (name, surface) in enumerate(surfaces.items()):
        title = options.get("title") or f"{shortened(name)}  ({index + 1} of {len(surfaces)})"
        yield _rendered(plot(surface, kind=kind, **{**options, **scale, "title": title}), dpi)


def _turning(
    surfaces: Mapping[str, Surface], kind: str | None, dpi: float, options: Mapping[str, Any]
) -> Iterator[Image.Image]:
    """A body from all sides."""
    if kind not in (None, "surface3d"):
        raise UsageError(f"kind: found {kind!r}; one surface moves as 'surface3d' only", hint="Give several files.")
    (surface,) = surfaces.values()
    if len(surface.grid.axes) == 1:
        raise UsageError("a single line does not move; expected a plane, or several files", hint="Or write a .png.")
    figure = plot(surface, kind="surface3d", **options)
    ax: Any = figure.axes[0]
    _rendered(figure, dpi)
    figure.set_layout_engine("none")  # or it would shake
    elevation, azimuth = ax.elev, ax.azim
    for step in range(_TURN):
        ax.view_init(elev=elevation, azim=azimuth + 360 * step / _TURN)
        yield _rendered(figure, dpi)


def _rendered(figure: Figure, dpi: float) -> Image.Image:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return Image.open(content).convert("RGB")


def _gif(frames: list[Image.Image], rate: float, last: int) -> bytes:
    """With one palette for all pictures, so that no colour flickers."""
    some = frames[:: max(1, len(frames) // 4)]
    mosaic = Image.new("RGB", (frames[0].width, sum(each.height for each in some)))
    for index, each in enumerate(some):
        mosaic.paste(each, (0, index * frames[0].height))
    palette = mosaic.quantize(_COLORS, method=Image.Quantize.MEDIANCUT)
    pictures = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in frames]
    content = io.BytesIO()
    durations = [round(100 / rate) * 10] * len(pictures)  # milliseconds, in the hundredths of seconds that a .gif has
    durations[-1] *= last
    pictures[0].save(
        content, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=False
    )
    return content.getvalue()


def _mp4(path: Path, frames: list[Image.Image], rate: float, last: int) -> bytes:
    width, height = frames[0].size
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "film.mp4"
        command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", f"{rate:g}", "-i", "-", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]
        command += ["-fflags", "+bitexact", str(target)]
        raw = b"".join(each.tobytes() for each in [*frames, *[frames[-1]] * (last - 1)])
        result = subprocess.run(command, input=raw, capture_output=True, check=False)  # noqa: S603  # no shell
        if result.returncode or not target.exists():
            reason = result.stderr.decode(errors="replace").strip().splitlines()
            raise OutputError(f"{path}: ffmpeg failed: {reason[-1] if reason else result.returncode}")
        return target.read_bytes()
