"""`kedro lineage`: what an artifact was made from, whether it still is what it was, how runs differ, and a run made again."""

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.startup import ProjectMetadata

from bdpo_pipeline.commands.project import data_root, open_project, project_options

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext

    from bdpo_pipeline.lineage.library import Entry, Library


@click.group()
def lineage() -> None:
    """Trace artifacts to data, code and parameters."""


@lineage.command()
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="everything that is recorded, as JSON")
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="write a graph (SVG) to this file"
)
@click.option("--parameters", is_flag=True, help="show the parameters of every node")
@project_options
@click.pass_obj
def show(
    metadata: ProjectMetadata,
    target: str,
    as_json: bool,
    picture: Path | None,
    parameters: bool,
    env: str | None,
    params: dict[str, Any],
) -> None:
    """Show what TARGET was made from, back to raw files.

    TARGET is an artifact (adapter), one of its versions (adapter@2026-11-21T18.33.03.264Z), the path of one, or the id of a
    session or of an MLflow run.
    """
    from bdpo_pipeline.lineage.picture import draw
    from bdpo_pipeline.lineage.trace import trace
    from bdpo_pipeline.lineage.words import trace_data, trace_lines

    with open_project(metadata, env, params) as context:
        library, entries = _find(context, target)
    steps = trace(entries, library)
    if picture is not None:
        picture.write_text(draw(steps), encoding="utf-8")
        click.echo(f"Written to {picture}", err=as_json)
    if as_json:
        click.echo(json.dumps(trace_data(steps), indent=1, ensure_ascii=False))
    elif picture is None or parameters:
        _say(trace_lines(steps, parameters))


@lineage.command()
@project_options
@click.pass_obj
def verify(metadata: ProjectMetadata, env: str | None, params: dict[str, Any]) -> None:
    """Hash everything again and name what was altered; exit code 1 if anything was."""
    from bdpo_pipeline.lineage.everything import verify_everything

    with open_project(metadata, env, params) as context:
        compute = context.catalog.load("params:compute")
        checked = verify_everything(
            context.catalog, data_root(context), Path(compute.reference_cache), Path(compute.scratch)
        )
        for finding in checked.findings:
            click.echo(str(finding))
    click.echo(checked.summary)
    sys.exit(1 if checked.altered else 0)


@lineage.command()
@click.argument("first")
@click.argument("second")
@project_options
@click.pass_obj
def diff(metadata: ProjectMetadata, first: str, second: str, env: str | None, params: dict[str, Any]) -> None:
    """Say how two runs or artifacts differ, first cause first; FIRST and SECOND are what `show` takes."""
    from bdpo_pipeline.lineage.compare import compare
    from bdpo_pipeline.lineage.trace import trace
    from bdpo_pipeline.lineage.words import comparison_lines

    with open_project(metadata, env, params) as context:
        steps = [
            trace(entries, library) for library, entries in (_find(context, one) for one in (first, second))
        ]
    _say(comparison_lines(compare(*steps)))


@lineage.command()
@click.argument("target")
@click.option(
    "--into", type=click.Path(file_okay=False, path_type=Path), help="new folder for the checkout; kept"
)
@click.option("--anyway", is_flag=True, help="replay the commit though the run had changes on top of it")
@project_options
@click.pass_obj
def replay(
    metadata: ProjectMetadata,
    target: str,
    into: Path | None,
    anyway: bool,
    env: str | None,
    params: dict[str, Any],
) -> None:
    """Make a run again in a clean checkout and compare bytes; exit code 1 if any differ that should not.

    TARGET is the id of a session or of an MLflow run.
    """
    from bdpo_pipeline.lineage.compare import compare
    from bdpo_pipeline.lineage.library import read_library
    from bdpo_pipeline.lineage.replay import ReplayError, check_out, outcomes, plan, run_again
    from bdpo_pipeline.lineage.trace import trace
    from bdpo_pipeline.lineage.words import comparison_lines, outcome_lines

    with open_project(metadata, env, params) as context:
        library, entries = _find(context, target)
        project = Path(context.project_path)
        may_differ = dict(_reasons(context))
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        folder = into or Path(scratch) / "checkout"
        try:
            record = plan(entries, project, anyway)
            check_out(record, entries, project, folder)
            run_again(record, folder)
        except ReplayError as error:
            raise click.ClickException(str(error)) from error
        library_again, _ = read_library(folder)
        again = library_again.entries
        found = outcomes(entries, again, may_differ)
        _say(outcome_lines(found))
        wrong = [one for one in found if one.outcome != "equal" and one.expected is None]
        if wrong:
            _say(comparison_lines(compare(trace(entries, library), trace(again, library_again))))
    sys.exit(1 if wrong else 0)


def _find(context: "KedroContext", target: str) -> "tuple[Library, list[Entry]]":
    """Return the library and the entries that a target names.

    Raises:
        click.ClickException: it names none.
    """
    from bdpo_pipeline.lineage.library import Library, NotFoundError, read_library
    from bdpo_pipeline.tracking.logged_records import logged_records

    library, damaged = read_library(data_root(context))
    for line in damaged:
        click.echo(line, err=True)
    name, _, version = target.partition("@")
    path = Path(target).absolute()
    found = [entry for entry in library.entries if entry.path is not None and entry.path.absolute() == path]
    found = found or library.session(target)
    if found:
        return library, found
    logged = logged_records(context, target)
    if logged:
        whole = Library([*logged, *library.entries])
        return whole, logged
    try:
        return library, [library.find(name, version or None)]
    except NotFoundError as error:
        sessions = ", ".join(library.sessions()[-3:]) or "none"
        raise click.ClickException(f"{error}. Newest sessions: {sessions}") from error


def _reasons(context: "KedroContext") -> Iterator[tuple[str, str]]:
    """Yield the names of artifacts that may differ when they are made again, with the reason that the catalog gives."""
    for name in context.catalog:
        facts = getattr(context.catalog[name], "metadata", None) or {}
        reason = facts.get("lineage", {}).get("may_differ")
        if reason:
            yield name, str(reason)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
