"""How figures are drawn. The only importer of matplotlib; nothing is shown on a screen.

Plots are SVG with real text, so that a screen reader, a search and a zoom reach every number. Their colours are CSS
variables with a fallback: the page sets them for light and dark, and a file on its own shows the fallback.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure as Figure
from numpy.typing import NDArray
from PIL import Image

# Placeholders while matplotlib draws; each becomes var(--name, fallback). Fallbacks: Okabe & Ito's colours, darkened
# where needed to stand out from white; a marker's shape tells methods apart as well.
INK = {"ink": "#1b2430", "muted": "#5c6773", "line": "#d5dbe1", "paper": "#fdfdfc"}
SERIES = ("#0b6aa8", "#c44e00", "#00795a", "#a8477f", "#7a6000", "#5b4bb5", "#66707a", "#a3362b")
MARKERS = "osD^vPXh"
_PLACEHOLDER = {f"#fe00{i:02x}": (name, colour) for i, (name, colour) in enumerate(INK.items())}
_PLACEHOLDER |= {f"#fe01{i:02x}": (f"series-{i}", colour) for i, colour in enumerate(SERIES)}
COLOUR = {name: placeholder for placeholder, (name, _) in _PLACEHOLDER.items()}
"""What matplotlib is given for a variable of the page: ink, muted, line, paper, series-0 to series-7."""
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medtea",
    "text.parse_math": False,
    "font.size": 9,
    "axes.edgecolor": COLOUR["line"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": COLOUR["muted"],
    "text.color": COLOUR["ink"],
    "xtick.color": COLOUR["muted"],
    "ytick.color": COLOUR["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
WIDTH = 4.3  # inches: 413 px, which a telephone shows at nearly its own size


@contextmanager
def sheet(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of so many inches; all of it is drawn and written within this context, which holds the style."""
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height))


def axes_of(figure: Figure, *, left: float, right: float, bottom: float, top: float) -> Axes:
    """Axes from `left` to `right`, shares of the width, above `bottom` and below `top`, inches.

    So a plot with more rows grows, and its margins do not.
    """
    height = figure.get_figheight()
    axes = figure.add_axes((left, bottom / height, right - left, 1 - (bottom + top) / height))
    axes.grid(axis="both", color=COLOUR["line"], linewidth=0.5)
    axes.set_axisbelow(True)
    return axes


def to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as SVG, the same every time; `name` begins its ids.

    Args:
        figure: What was drawn on a sheet.
        name: Of the figure, one on a page.
        title: Short, because browsers show it as a tooltip.
        description: The numbers, for those who do not see the plot.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)[\")]", text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r"(url\(|href=\")#", rf"\1#{name}-", text)
    for placeholder, (variable, colour) in _PLACEHOLDER.items():
        text = text.replace(placeholder, f"var(--{variable}, {colour})")
    text = re.sub(r"'DejaVu Sans'[^;\"]*sans-serif", "system-ui, sans-serif", text)
    size = re.search(r'<svg[^>]*?\swidth="([\d.]+)pt"', text)
    width = float(size[1]) * 96 / 72 if size else WIDTH * 96
    head = f'<svg role="img" aria-labelledby="{name}-title" aria-describedby="{name}-numbers" '
    head += f'style="width: {width:.0f}px; stroke-linejoin: round" '
    text = re.sub(r'\s(width|height)="[\d.]+pt"', "", text, count=2).replace("<svg ", head, 1)
    told = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-numbers">{escape(description)}</desc>'
    return re.sub(r"(<svg[^>]*>)", lambda m: m[1] + told, text, count=1)


def inline(svg: str) -> str:
    """The SVG as it stands inside a page: no namespace declarations, which only a file of its own needs."""
    return re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg)


def picture_uri(pixels: NDArray[np.float64]) -> str:
    """Pixels in [0, 1], (height, width, 3), as a WebP picture in a data URI: a tenth of a PNG."""
    written = io.BytesIO()
    Image.fromarray((pixels * 255).round().astype(np.uint8)).save(written, format="WEBP", quality=75)
    return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode()}"


def contour_path(mask: NDArray[Any] | None) -> str:
    """The outline of a mask as an SVG path in the picture's coordinates; "" where there is none."""
    # Contour at one half; +0.5 because a pixel's centre lies half a pixel inside its corner.
    if mask is None or not np.any(mask):
        return ""
    padded = np.pad(np.asarray(mask, dtype=np.float64), 1)
    lines = Figure().subplots().contour(padded, levels=[0.5]).allsegs[0]
    return "".join("M" + "L".join(f"{x - 0.5:g} {y - 0.5:g}" for x, y in line) + "Z" for line in lines)
