"""The kind of each arm's implicit reward: accuracies in rewards of different kinds do not compare."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def reward_kinds(trials: "pd.DataFrame") -> dict[str, str]:
    """Return by arm the kind of its implicit reward (docs/artifacts.md), from the objective that `study_trials` names."""
    from bdpo_pipeline.objectives import bind_objective

    objectives = trials.drop_duplicates("arm").set_index("arm")["objective"]
    return {str(arm): bind_objective(name, {}).reward for arm, name in objectives.items()}
