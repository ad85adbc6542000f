"""What every command group needs of the project: its configuration, as `kedro run` with the same options would have it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from kedro.framework.cli.utils import _split_params, env_option
from kedro.framework.context import KedroContext
from kedro.framework.startup import ProjectMetadata

F = TypeVar("F", bound=Callable[..., Any])


def project_options(command: F) -> F:
    """Add `--env` and `--params`, as `kedro run` has them."""
    params = click.option(
        "--params",
        default="",
        callback=_split_params,
        help="such as data_root=/some/folder, as for kedro run",
    )
    decorated: F = params(env_option(command))
    return decorated


@contextmanager
def open_project(
    metadata: ProjectMetadata, env: str | None, params: dict[str, Any]
) -> Iterator[KedroContext]:
    """Give the project's context.

    Args:
        metadata: what Kedro passes to project commands.
        env: configuration environment.
        params: runtime parameters, as from the command line.
    """
    from kedro.framework.session import KedroSession

    session = KedroSession.create(metadata.project_path, env=env, runtime_params=params)
    try:
        yield session.load_context()
    finally:
        session.close()


def data_root(context: KedroContext) -> Path:
    """Return the folder of everything that runs make."""
    given = (context._runtime_params or {}).get("data_root") or context.config_loader["globals"]["data_root"]
    return Path(context.project_path) / str(given)
