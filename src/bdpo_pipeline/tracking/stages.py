"""Which nodes share a run of their own, and by what names that run has their parameters and files.

Training and evaluation are a stage each. Of a study, whatever is in a namespace ``study.<arm>.<part>`` is one stage; the part is a seed
(``seed_1``, with what the reference model says for it, ``reference_1``) or a point of the grid (``tune_low``). What all points share is
in none.
"""

import re
from dataclasses import dataclass, field

from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

# Pipelines whose nodes share a child run.
STAGES = ("training", "evaluation")
STUDY = "study"
# Which run a part belongs to, and the tag that tells this run from others.
_PARTS = {"seed": ("seed", "seed"), "reference": ("seed", "seed"), "tune": ("tune", "point")}
# An arm's parameters are called as those of the one arm of a plain run, so that runs compare.
_SHORTER = (
    (re.compile(rf"^{STUDY}\.arms\.[^.]+\."), ""),
    (re.compile(rf"^{STUDY}\.(seeds\.[^.]+|tuning_seed)$"), f"{STUDY}.seed"),
    (re.compile(rf"^{STUDY}\.grid\.[^.]+"), f"{STUDY}.point"),
)


@dataclass(frozen=True)
class StageSpec:
    """Nodes that share a run.

    Attributes:
        name: of the run.
        nodes: in the order of the pipeline.
        namespace: what stands before the names of all that is theirs alone; None for nothing.
        tags: by which the run is found.
    """

    name: str
    namespace: str | None
    tags: dict[str, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    @property
    def is_arm(self) -> bool:
        """Whether it is of a study."""
        return bool(self.tags)

    @property
    def is_trial(self) -> bool:
        """Whether it only serves to choose a point of the grid."""
        return "point" in self.tags

    def own_name(self, name: str) -> str:
        """Return a parameter's or data set's name without what tells this stage from others."""
        prefix = f"{self.namespace}."
        if name.startswith(prefix):
            return name.removeprefix(prefix)
        for pattern, shorter in _SHORTER if self.is_arm else ():
            name = pattern.sub(shorter, name)
        return name


def plan_stages(pipeline: Pipeline) -> list[StageSpec]:
    """Return the stages of a pipeline; a node is in one at most. Those of plain runs are told by their functions, in any namespace."""
    stages: dict[str, StageSpec] = {}
    functions = {node.func: name for name in STAGES for node in pipelines[name].nodes}
    for node in pipeline.nodes:
        spec = _arm_spec(node.namespace) or _plain_spec(node.namespace, functions.get(node.func))
        if spec is not None:
            stages.setdefault(spec.name, spec).nodes.append(node)
    return list(stages.values())


def _arm_spec(namespace: str | None) -> StageSpec | None:
    parts = (namespace or "").split(".")
    if parts[0] != STUDY or len(parts) < 3:
        return None
    arm, (kind, _, value) = parts[1], parts[2].partition("_")
    if kind not in _PARTS:
        return None
    owner, tag = _PARTS[kind]
    name = f"{arm}.{owner}_{value}"
    return StageSpec(name, f"{STUDY}.{name}", {"study": STUDY, "arm": arm, tag: value})


def _plain_spec(namespace: str | None, stage: str | None) -> StageSpec | None:
    if stage is None:
        return None
    return StageSpec(f"{namespace}.{stage}" if namespace else stage, namespace)
