"""What Kedro lacks around parameters: one that no node uses is an error, as is a prompt set that is not there, and the graph of a study
follows from them.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from bdpo_pipeline.arms import plan_study, planned
from bdpo_pipeline.benchmarks.choice import check_sets
from bdpo_pipeline.io.config_loader import ProjectConfigLoader


class UnknownParameterError(ValueError):
    """A parameter that nothing uses, so most likely a misspelt one."""


class StudyGraphHook:
    """Lets the graph of the study follow from the parameters of the session: its files, environment and command line."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the session's plan before anyone asks for the pipelines, and forget those of another session of this process."""
        loader = context.config_loader
        plan = loader.plan() if isinstance(loader, ProjectConfigLoader) else None
        if plan is not None and plan != planned():
            plan_study(plan)
            pipelines.configure(f"{context._package_name}.pipeline_registry")


class ParameterNamesHook:
    """Stops a run whose parameters hold an unknown top-level name, from a file or from ``--params``.

    Names within a group are checked by its type; see :class:`bdpo_pipeline.parameters.ParameterGroup`.
    """

    def __init__(self) -> None:
        self._globals: set[str] = set()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note the names in globals.yml, which ``--params`` may override, too."""
        self._globals = set(context.config_loader["globals"])

    @hook_impl
    def after_catalog_created(self, parameters: dict[str, Any]) -> None:
        """Compare the names that are given with those that are used.

        Raises:
            UnknownParameterError: naming the parameter and what it may have been meant to be.
        """
        check_names(parameters.get("parameters", {}), _used_groups() | self._globals)


class PromptSetsHook:
    """Stops a run that would answer prompts of a set that does not exist, before it trains."""

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> None:
        """Compare the sets of which prompts are asked for with those that the run is to read.

        A run that reads none takes the prompts of an earlier one, whose sets its first node knows.

        Raises:
            UnknownPromptSetError: naming the parameter and the set.
        """
        if "evaluation_prompts" not in pipeline.all_outputs():
            return
        known = [one.name for one in catalog.load("params:ingestion").evaluation_prompts]
        asking = [node for node in pipeline.nodes if "evaluation_prompts" in node.inputs]
        for name in sorted({name for node in asking for name in node.inputs if name.startswith("params:")}):
            numbers = getattr(catalog.load(name), "prompts", None)
            if isinstance(numbers, Mapping):
                check_sets(numbers, known, parameter=f"{name.removeprefix('params:')}.prompts")


def check_names(given: dict[str, Any], known: set[str]) -> None:
    """Raise an error for the first given name that is not known.

    Raises:
        UnknownParameterError: naming the parameter and what it may have been meant to be.
    """
    for name in sorted(set(given) - known):
        close = get_close_matches(name, known, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise UnknownParameterError(
            f"no node uses the parameter {name!r} (from conf/*/parameters*.yml or --params). {hint}"
            f"Known: {', '.join(sorted(known))}."
        )


def _used_groups() -> set[str]:
    inputs = {name for pipeline in pipelines.values() for name in pipeline.all_inputs()}
    return {name.removeprefix("params:").partition(".")[0] for name in inputs if name.startswith("params:")}
