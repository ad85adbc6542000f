"""A trace as a picture: a column for each distance from the files, an arrow for each use; one SVG file without scripts."""

from html import escape

from bdpo_pipeline.lineage.trace import Step

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 210, 46, 70, 16, 24
_COLOURS = {"artifact": "#dbe9f6", "in memory": "#f3f3f3", "file": "#e6f2dd", "unknown": "#f9dcdc"}
_CHARACTERS = 30


def draw(steps: list[Step]) -> str:
    """Return an SVG of a trace, files at the left, what was made of them at the right.

    Args:
        steps: parents before children.
    """
    column = _columns(steps)
    rows: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    for step in sorted(steps, key=lambda step: column[step.key]):
        row = rows.get(column[step.key], 0)
        rows[column[step.key]] = row + 1
        places[step.key] = (
            _MARGIN + column[step.key] * (_WIDTH + _GAP_X),
            _MARGIN + row * (_HEIGHT + _GAP_Y),
        )
    width = 2 * _MARGIN + (max(column.values(), default=0) + 1) * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + max(rows.values(), default=1) * (_HEIGHT + _GAP_Y) - _GAP_Y
    arrows = [_arrow(places[parent], places[step.key]) for step in steps for parent in step.parents]
    boxes = [_box(step, places[step.key]) for step in steps]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="sans-serif" role="img" aria-label="what the artifact was made from">',
            '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
            '<path d="M0,0 L8,4 L0,8 z" fill="#777"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *arrows,
            *boxes,
            "</svg>\n",
        ]
    )


def _columns(steps: list[Step]) -> dict[str, int]:
    column: dict[str, int] = {}
    for step in steps:
        column[step.key] = 1 + max((column[parent] for parent in step.parents), default=-1)
    return column


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y = start[0] + _WIDTH, start[1] + _HEIGHT // 2
    to_x, to_y = end[0], end[1] + _HEIGHT // 2
    bend = max(_GAP_X // 2, (to_x - x) // 2)
    path = f"M{x},{y} C{x + bend},{y} {to_x - bend},{to_y} {to_x},{to_y}"
    return f'<path d="{path}" fill="none" stroke="#999" stroke-width="1.2" marker-end="url(#head)"/>'


def _box(step: Step, place: tuple[int, int]) -> str:
    x, y = place
    below = step.made.node if step.made is not None else step.kind
    title = escape(f"{step.name} {step.version or ''} SHA-256 {step.sha256}")
    return (
        f'<g><title>{title}</title><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
        f'fill="{_COLOURS[step.kind]}" stroke="#777"/>'
        f'<text x="{x + 10}" y="{y + 19}" font-size="12" font-weight="600">{escape(_short(step.name))}</text>'
        f'<text x="{x + 10}" y="{y + 36}" font-size="10" fill="#555">{escape(_short(f"{below} · {step.sha256[:8]}"))}</text></g>'
    )


def _short(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"…{text[-_CHARACTERS + 1 :]}"
