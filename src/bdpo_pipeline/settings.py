"""Kedro settings of the project."""

from typing import Any

from bdpo_pipeline.hooks import ParameterNamesHook, PromptSetsHook, StudyGraphHook
from bdpo_pipeline.interrupts import FinishedJobsHook, InterruptHook
from bdpo_pipeline.io.config_loader import ProjectConfigLoader
from bdpo_pipeline.io.session_store import UniqueSessionStore
from bdpo_pipeline.io.versions import PinVersionsHook
from bdpo_pipeline.lineage.hook import LineageHook
from bdpo_pipeline.tracking.hook import TrackingHook

CONFIG_LOADER_CLASS = ProjectConfigLoader
SESSION_STORE_CLASS = UniqueSessionStore
# Soft merge: an environment overrides single parameters, it does not have to repeat the whole file.
CONFIG_LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "tracking": "soft"},
    "config_patterns": {"tracking": ["tracking*"]},
}

# The last is told first: versions are pinned before anyone looks, and an artifact has its record before it is tracked.
HOOKS = (
    ParameterNamesHook(),
    FinishedJobsHook(),
    TrackingHook(),
    LineageHook(),
    PinVersionsHook(),
    InterruptHook(),
    StudyGraphHook(),
    PromptSetsHook(),
)
