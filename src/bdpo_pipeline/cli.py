"""Commands of the project beside Kedro's own; each group is imported when it is called."""

import click
from kedro.framework.cli.utils import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy_subcommands={
        "lineage": "bdpo_pipeline.commands.lineage.lineage",
        "reference": "bdpo_pipeline.commands.reference.reference",
        "study": "bdpo_pipeline.commands.study.study",
        "tracking": "bdpo_pipeline.commands.tracking.tracking",
    },
)
def cli() -> None:
    """Commands of this project."""
