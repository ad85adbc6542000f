"""`kedro tracking`: records of runs that wait for the MLflow store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.startup import ProjectMetadata

from bdpo_pipeline.commands.project import open_project, project_options

if TYPE_CHECKING:
    from bdpo_pipeline.tracking.sender import Watch
    from bdpo_pipeline.tracking.sending import Outcome
    from bdpo_pipeline.tracking.settings import TrackingSettings


@click.group()
def tracking() -> None:
    """Look after records of runs that wait for the MLflow store."""


@tracking.command()
@project_options
@click.pass_obj
def status(metadata: ProjectMetadata, env: str | None, params: dict[str, Any]) -> None:
    """List the sessions of which the store does not have everything."""
    from bdpo_pipeline.tracking.journal import WRITER_LOCK
    from bdpo_pipeline.tracking.locks import lock
    from bdpo_pipeline.tracking.progress import read_refused
    from bdpo_pipeline.tracking.sending import count_waiting

    for folder in _waiting(_settings(metadata, env, params)):
        with lock(folder / WRITER_LOCK) as free:
            running = "" if free else ", still running"
        refused = len(read_refused(folder))
        click.echo(f"{folder.name}: {count_waiting(folder)} records waiting, {refused} refused{running}")


@tracking.command()
@click.option(
    "--moved",
    is_flag=True,
    help="send also what was recorded for a store at another address, such as a server that has moved",
)
@click.option("--refused", is_flag=True, help="try again what the store refused")
@project_options
@click.pass_obj
def upload(
    metadata: ProjectMetadata, moved: bool, refused: bool, env: str | None, params: dict[str, Any]
) -> None:
    """Send to the store what waits, and say what is left; exit code 1 if anything has to wait."""
    from bdpo_pipeline.tracking.sending import count_waiting, send_session

    settings = _settings(metadata, env, params)
    waiting = 0
    for folder in _waiting(settings):
        with click.progressbar(length=count_waiting(folder), label=folder.name) as bar:
            outcome = send_session(folder, settings, _advance(bar), moved=moved, refused_again=refused)
        click.echo(_describe(folder, outcome))
        waiting += outcome.waiting
        if outcome.outage:
            raise click.ClickException(
                f"{settings.public_uri} takes nothing at the moment. What waits is kept; try again later"
            )
    if waiting:
        raise click.ClickException(f"{waiting} records wait, for the reasons above")


def _settings(metadata: ProjectMetadata, env: str | None, params: dict[str, Any]) -> "TrackingSettings":
    from bdpo_pipeline.tracking.settings import TrackingSettings

    with open_project(metadata, env, params) as context:
        configured = TrackingSettings(**context.config_loader["tracking"]["tracking"])
        return configured.relative_to(context.project_path)


def _waiting(settings: "TrackingSettings") -> list[Path]:
    from bdpo_pipeline.tracking.journal import sessions

    folders = sessions(Path(settings.spool))
    if not folders:
        click.echo(f"Nothing waits for {settings.public_uri}.")
    return folders


def _advance(bar: Any) -> "Watch":
    @contextmanager
    def watch(kind: str, entries: int) -> Iterator[None]:  # noqa: ARG001 - a Watch
        yield
        bar.update(entries)

    return watch


def _describe(folder: Path, outcome: "Outcome") -> str:
    said = [f"{outcome.waiting} records waiting" if outcome.waiting else "everything was sent"]
    if outcome.refused:
        said.append(f"{outcome.refused} refused by the store, with the reasons in {folder}")
    if outcome.reason:
        said.append(outcome.reason)
    return f"{folder.name}: {'; '.join(said)}"
