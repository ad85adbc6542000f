"""Jobs: what a worker process is asked to do, as plain data that survives a trip through a JSON file."""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


def check_together(processes: int, sharding: str | None, quantisation: str | None) -> None:
    """Refuse what cannot be combined.

    Raises:
        ValueError: naming the parameters and what to do.
    """
    if sharding is not None and processes == 1:
        raise ValueError(
            f"compute.sharding = {sharding} spreads the model over the processes of a job, and compute.processes is 1: raise it, or "
            "set compute.sharding to null"
        )
    if sharding is not None and quantisation is not None:
        raise ValueError(
            "compute.sharding and compute.quantisation do not go together: quantised weights are small enough for each process"
        )


@dataclass(frozen=True)
class Compute:
    """Where and how a worker computes; see ``conf/base/parameters_compute.yml``. None in place of a number leaves it to the worker."""

    device: str = "cpu"
    dtype: str = "float32"
    quantisation: str | None = None
    processes: int = 1
    threads: int | None = None
    memory_gb: float | None = None
    tokens_per_batch: int | None = None
    sharding: str | None = None
    activation_checkpointing: bool = False
    accelerate_config: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be combined."""
        check_together(self.processes, self.sharding, self.quantisation)

    @property
    def weights(self) -> dict[str, Any]:
        """How the base weights are held, as the loading functions take it."""
        return {"dtype": self.dtype, "quantisation": self.quantisation}

    @property
    def precision(self) -> str:
        """The same, as a name; in less than fp32 a CPU and a GPU differ by more than rounding of the last digit."""
        parts = [self.quantisation, self.dtype, None if self.dtype == "float32" else self.device]
        return "/".join(part for part in parts if part is not None)


@dataclass(frozen=True)
class LoraSpec:
    """A LoRA adapter; names and meaning are PEFT's."""

    r: int
    alpha: int
    dropout: float
    target_modules: str | list[str]


@dataclass(frozen=True)
class ScoreJob:
    """Log-probs of responses.

    Tokens (``tokens.safetensors``): ``contexts``, ``responses``, ``response_context`` (the number of each response's context) and, if
    not all are to be computed, ``is_wanted`` (one a response): the others only have their part in how batches are made up.

    Attributes:
        model: folder of the base model.
        compute: where and how.
        adapter: what was trained of it; None for the base model itself.
        resumable: whether the job's folder keeps the log-probs, for a run that goes on; not needed where the caller stores them.
        task: names the kind of job.
    """

    model: str
    compute: Compute
    adapter: str | None = None
    resumable: bool = True
    task: str = "score"


@dataclass(frozen=True)
class GenerateJob:
    """Greedy continuations of ``contexts`` by each of ``models``: ``base``, ``adapter`` or both."""

    model: str
    compute: Compute
    adapter: str | None
    models: list[str]
    max_new_tokens: int
    batch_size: int
    task: str = "generate"

    def __post_init__(self) -> None:
        """Refuse what cannot be answered.

        Raises:
            ValueError: no models, unknown ones, or no adapter where one is to answer.
        """
        if not self.models or len({*self.models} & {"base", "adapter"}) < len(self.models):
            raise ValueError(
                f"models to answer: found {self.models}; accepted: base, adapter, each at most once"
            )
        if "adapter" in self.models and self.adapter is None:
            raise ValueError(
                "the adapter is to answer, and none is given: name its folder, or ask the base model alone"
            )


@dataclass(frozen=True)
class DivergeJob:
    """How far a trained model has moved from its base model on given responses.

    Tokens: ``contexts`` and ``responses``, one response to each context.
    """

    model: str
    compute: Compute
    adapter: str
    task: str = "diverge"


@dataclass(frozen=True)
class RateJob:
    """The one output of a sequence classifier, such as a reward model, on each of ``texts``."""

    model: str
    compute: Compute
    task: str = "rate"

    @property
    def adapter(self) -> None:
        """It has none."""
        return None


@dataclass(frozen=True)
class AttackJob:
    """For each goal a suffix after which the model begins the target; see :mod:`bdpo_pipeline.engine.gcg`.

    Attributes:
        model: folder of the base model.
        compute: where and how.
        adapter: what was trained of it, and is attacked; None for the base model itself.
        goals: what is asked for, as text.
        targets: beginnings of complying answers, one a goal.
        seeds: of the candidates, one a goal.
        steps: of each search.
        width: candidates of a step.
        top_k: tokens that are tried for each place.
        first_suffix: text that stands behind the goal at first.
        task: names the kind of job.
    """

    model: str
    compute: Compute
    adapter: str | None
    goals: list[str]
    targets: list[str]
    seeds: list[int]
    steps: int
    width: int
    top_k: int
    first_suffix: str
    task: str = "attack"


@dataclass(frozen=True)
class OptimiserSpec:
    """AdamW and its schedule; ``epsilon`` is what AdamW adds to the root of the second moment."""

    learning_rate: float
    weight_decay: float
    warmup_share: float
    schedule: str
    max_grad_norm: float
    epsilon: float = 1e-8


@dataclass(frozen=True)
class TrainJob:
    """Preference training.

    Without ``lora``, all weights are trained. Where training diverges it fails, or with ``ends_where_it_diverges`` ends there.

    Tokens: ``contexts``, ``responses`` (chosen and rejected of pair i at 2i and 2i + 1), ``marginal_context`` (one) where comprehension
    is followed and, one value a pair, ``is_training`` and the columns of a batch that the objective needs.
    """

    model: str
    compute: Compute
    objective: str
    options: dict[str, Any]
    lora: LoraSpec | None
    optimiser: OptimiserSpec
    epochs: int
    pairs_per_step: int
    evaluate_every: int
    early_stopping_patience: int | None
    checkpoint_every: int
    seeds: dict[str, int] = field(default_factory=dict)
    # As `engine.comprehension.Comprehension` reads it; None where the objective does not ask for comprehension.
    comprehension: dict[str, Any] | None = None
    ends_where_it_diverges: bool = False
    task: str = "train"

    def __post_init__(self) -> None:
        """Refuse what cannot be combined."""
        if self.lora is None and self.compute.quantisation is not None:
            raise ValueError(
                "training.lora is null, which trains all weights, and compute.quantisation holds them in four bits, which cannot be "
                "trained: give training.lora (QLoRA), or set compute.quantisation to null"
            )


Job = ScoreJob | GenerateJob | DivergeJob | RateJob | AttackJob | TrainJob
_JOBS: dict[str, type[Job]] = {
    "score": ScoreJob,
    "generate": GenerateJob,
    "diverge": DivergeJob,
    "rate": RateJob,
    "attack": AttackJob,
    "train": TrainJob,
}


def to_dict(job: Job) -> dict[str, Any]:
    """Return the job as JSON-ready data."""
    return dataclasses.asdict(job)


def job_from_dict(data: dict[str, Any]) -> Job:
    """Return the job that :func:`to_dict` made the data of.

    Raises:
        ValueError: unknown task.
    """
    if data.get("task") not in _JOBS:
        raise ValueError(f"unknown task {data.get('task')!r}; there are: {', '.join(_JOBS)}")
    return _build(_JOBS[data["task"]], data)


def _build(cls: type[T], data: dict[str, Any]) -> T:
    hints = typing.get_type_hints(cls)
    return cls(**{name: _nested(hints[name], value) for name, value in data.items()})


def _nested(hint: Any, value: Any) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = [option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)]
    return _build(kinds[0], value) if kinds and value is not None else value
