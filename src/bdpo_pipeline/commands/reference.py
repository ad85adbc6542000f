"""`kedro reference`: what the reference cache holds, whether all of it is intact, and how to make it smaller."""

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.startup import ProjectMetadata

from bdpo_pipeline.commands.project import open_project, project_options

if TYPE_CHECKING:
    from bdpo_pipeline.cache.rows import Model
    from bdpo_pipeline.cache.summary import Pass, Summary

_PASSES_SHOWN = 10
_NUMBERS = {"log-probs", "requested", "found", "computed", "hit rate"}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@click.group()
def reference() -> None:
    """Look after the cache of reference log-probs."""


@reference.command()
@click.option("--json", "as_json", is_flag=True, help="everything, as JSON")
@project_options
@click.pass_obj
def show(metadata: ProjectMetadata, as_json: bool, env: str | None, params: dict[str, Any]) -> None:
    """Show the cache's size, its log-probs by model, and how often it had what was asked for."""
    from bdpo_pipeline.cache.database import StoreError, prepare
    from bdpo_pipeline.cache.summary import summarise

    path = _find(metadata, env, params)
    try:
        prepare(path)
        summary = summarise(path)
    except (StoreError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(_as_data(path, summary), indent=1))
    else:
        _say(_lines(path, summary))


@reference.command()
@click.option("--repair", is_flag=True, help="put a damaged file aside and keep what of it can be read whole")
@click.option("--json", "as_json", is_flag=True, help="the result as JSON")
@project_options
@click.pass_obj
def check(
    metadata: ProjectMetadata, repair: bool, as_json: bool, env: str | None, params: dict[str, Any]
) -> None:
    """Read all of the cache and name what is damaged; exit code 1 if anything is and was not repaired."""
    from bdpo_pipeline.cache import repair as repairing
    from bdpo_pipeline.cache.database import StoreError

    path = _find(metadata, env, params)
    kept, aside = None, None
    try:
        found = repairing.check(path)
        if found.problems and repair:
            kept, aside = repairing.repair(path)
    except (StoreError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        data = {"path": str(path), "intact": found.intact_rows, "problems": found.problems}
        data |= {"kept": kept, "put_aside": aside and str(aside)}
        click.echo(json.dumps(data, indent=1))
    else:
        _say([f"{path}: {found.intact_rows:,} log-probs are intact", *found.problems])
        if aside is not None:
            click.echo(
                f"Put aside as {aside}; the cache now has the {kept:,} log-probs that could be read whole"
            )
        elif found.problems:
            click.echo("Put the file aside and keep what can be read whole: kedro reference check --repair")
    sys.exit(1 if found.problems and aside is None else 0)


def _bytes(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    given = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    if given is None:
        raise click.BadParameter(f"{text!r} is not a size; accepted: a number of bytes, or 500MB, 1.5GB")
    return int(float(given[1]) * _UNITS[given[2]])


def _sha256(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    if text is not None and not re.fullmatch("[0-9a-f]{1,64}", text):
        raise click.BadParameter(
            f"{text!r} is not the beginning of a SHA-256; `kedro reference show` has them"
        )
    return text


@reference.command()
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="computed longer ago")
@click.option("--unused-for", type=click.FloatRange(min=0), metavar="DAYS", help="used last longer ago")
@click.option("--model", callback=_sha256, metavar="SHA256", help="of the weights that begin with this")
@click.option("--max-rows", type=click.IntRange(min=0), help="only until so many log-probs are left")
@click.option("--max-size", callback=_bytes, metavar="SIZE", help="only until it is about so large, as 500MB")
@click.option("--dry-run", is_flag=True, help="only say what would go")
@click.option("--yes", is_flag=True, help="do not ask")
@project_options
@click.pass_obj
def prune(
    metadata: ProjectMetadata,
    older_than: float | None,
    unused_for: float | None,
    model: str | None,
    max_rows: int | None,
    max_size: int | None,
    dry_run: bool,
    yes: bool,
    env: str | None,
    params: dict[str, Any],
) -> None:
    """Remove log-probs and give their space back.

    What is removed fulfils all conditions that are given. With --max-rows or --max-size, those used longest ago go first.
    """
    from bdpo_pipeline.cache import pruning
    from bdpo_pipeline.cache.database import StoreError, prepare
    from bdpo_pipeline.cache.summary import bytes_on_disk

    rule = pruning.Rule(older_than, unused_for, model, max_rows, max_size)
    if rule == pruning.Rule():
        raise click.UsageError(
            "say what may go: --older-than, --unused-for, --model, --max-rows or --max-size"
        )
    path = _find(metadata, env, params)
    try:
        prepare(path)
        planned = pruning.plan(path, rule)
        what = f"{planned.removed:,} of {planned.rows:,} log-probs, about {planned.bytes_freed:,} bytes"
        if dry_run or planned.removed == 0:
            click.echo(f"{path}: would remove {what}")
            return
        if not yes:
            click.confirm(f"{path}: remove {what}?", abort=True)
        done = pruning.prune(path, rule)
    except (StoreError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Removed {done.removed:,} log-probs; the cache takes {bytes_on_disk(path):,} bytes now")


def _find(metadata: ProjectMetadata, env: str | None, params: dict[str, Any]) -> Path:
    with open_project(metadata, env, params) as context:
        given = context.config_loader["parameters"]["compute"]["reference_cache"]
        path = Path(context.project_path) / str(given)
    if not path.is_file():
        raise click.ClickException(
            f"there is no reference cache {path} yet; the reference pipeline makes it (compute.reference_cache)"
        )
    return path


def _as_data(path: Path, summary: "Summary") -> dict[str, Any]:
    from bdpo_pipeline.cache.summary import hit_rate

    def named(model: "Model | None") -> dict[str, str | None]:
        return {
            "weights_sha256": model.weights_sha256 if model else None,
            "precision": model.precision if model else None,
        }

    return {
        "path": str(path),
        "bytes": summary.bytes_on_disk,
        "rows": summary.rows,
        "models": [
            {
                **named(one.model),
                "rows": one.rows,
                "first_computed": _time(one.first_computed_at),
                "last_computed": _time(one.last_computed_at),
                "last_used": _time(one.last_used_at),
            }
            for one in summary.models
        ],
        "passes": [
            {
                "time": _time(one.lookup.at),
                **named(one.model),
                "requested": one.lookup.requested,
                "found": one.lookup.found,
                "computed": one.lookup.computed,
            }
            for one in summary.passes
        ],
        "hit_rate": hit_rate(summary.passes),
    }


def _lines(path: Path, summary: "Summary") -> Iterator[str]:
    from bdpo_pipeline.cache.summary import hit_rate

    yield f"{path}: {summary.rows:,} log-probs, {summary.bytes_on_disk:,} bytes"
    if summary.models:
        yield ""
        yield from _table(
            ["weights", "precision", "log-probs", "first computed", "last computed", "last used"],
            [
                [
                    *_words(one.model),
                    f"{one.rows:,}",
                    *map(_time, (one.first_computed_at, one.last_computed_at, one.last_used_at)),
                ]
                for one in summary.models
            ],
        )
    if summary.passes:
        shown = summary.passes[-_PASSES_SHOWN:]
        yield ""
        yield from _table(
            ["pass", "weights", "precision", "requested", "found", "computed", "hit rate"],
            [_pass_words(one) for one in shown],
        )
        yield ""
        yield f"Hit rate of all passes ({len(summary.passes):,}): {_percent(hit_rate(summary.passes))}"


def _pass_words(one: "Pass") -> list[str]:
    from bdpo_pipeline.cache.summary import hit_rate

    counts = (one.lookup.requested, one.lookup.found, one.lookup.computed)
    return [_time(one.lookup.at), *_words(one.model), *(f"{n:,}" for n in counts), _percent(hit_rate([one]))]


def _words(model: "Model | None") -> tuple[str, str]:
    return (model.weights_sha256[:12], model.precision) if model else ("not known", "not known")


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield aligned lines, numbers to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = (
            f"{cell:>{width}}" if name in _NUMBERS else f"{cell:<{width}}"
            for cell, width, name in zip(row, widths, header, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _say(lines: Sequence[str] | Iterator[str]) -> None:
    for line in lines:
        click.echo(line)
