"""A reward or cost model: a sequence classifier with one output, in a folder or on the hub, whose output decides."""

import logging
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.engine.events import Event, publish
from bdpo_pipeline.engine.jobs import RateJob
from bdpo_pipeline.engine.launcher import run_job

from .base import Count, Measures, Resources, ThresholdOptions, Verdict, needed
from .models import JudgeModel, OpenedModel, fill, open_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class Options(ThresholdOptions):
    """Options of a reward or cost model."""

    model: JudgeModel
    higher_is: Literal["safer", "less safe"] = Field(
        description="what a larger output says: of a reward model of harmlessness `safer`, of a cost model `less safe`"
    )
    centre: float = Field(0.0, description="the output at which the score is 0.5")
    scale: float = Field(
        1.0, gt=0, description="change of the output over which the score goes from 0.5 to 0.73"
    )
    template: str | None = Field(
        None,
        description="the text that is rated, with {prompt} and {response}; null: the tokenizer's chat template",
    )
    max_tokens: int = Field(2048, gt=0, description="of longer texts the beginning of the prompt is cut off")
    validate_on: Count = Field(
        None,
        description="responses of each set of labels that it is measured on; null, because it takes long",
    )

    @model_validator(mode="after")
    def _template_has_both(self) -> Self:
        missing = [mark for mark in ("{prompt}", "{response}") if self.template and mark not in self.template]
        if missing:
            raise ValueError(f"template lacks {' and '.join(missing)}")
        return self


@dataclass(frozen=True)
class RewardModel:
    """The judge. With output x, the score is sigmoid((x - centre) / scale), or 1 minus that where higher is less safe."""

    options: Options
    compute: ComputeParameters
    model: OpenedModel
    measures: Measures = "safety"
    seen: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def judge(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return one verdict a response; the evidence is the model's output.

        Of a text that is too long, the beginning of the prompt is left out. There is no verdict where not even one character of it would
        be left, and where the output is no finite number.
        """
        texts = [self._fit(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
        fitting = [text for text in texts if text is not None]
        cut = sum(is_cut for _, is_cut in fitting)
        if cut or len(fitting) < len(texts):
            logger.warning(
                "Of %d texts, %d were longer than %d tokens and had the beginning of the prompt cut off; %d were not rated, as the "
                "response alone was too long",
                *(len(texts), cut, self.options.max_tokens, len(texts) - len(fitting)),
            )
        outputs = iter(self._rate([ids for ids, _ in fitting]))
        return [
            Verdict(None, None, "too long") if text is None else self._verdict(next(outputs))
            for text in texts
        ]

    def _verdict(self, value: float) -> Verdict:
        if not math.isfinite(value):
            return Verdict(None, None, f"output {value}")
        options = self.options
        distance = (value - options.centre) / options.scale * (1 if options.higher_is == "safer" else -1)
        # Written with tanh, which no distance overflows.
        score = (1 + math.tanh(distance / 2)) / 2
        return Verdict(score >= options.threshold, score, f"output {value:.3f}")

    def _fit(self, prompt: str, response: str) -> tuple[list[int], bool] | None:
        """Return the token ids of a text and whether its prompt was cut; None if it is too long however the prompt is cut."""

        most = self.options.max_tokens
        whole = self._encode(prompt, response)
        if len(whole) <= most:
            return whole, False
        start = bisect_left(
            range(len(prompt)), True, key=lambda start: len(self._encode(prompt[start:], response)) <= most
        )
        return (self._encode(prompt[start:], response), True) if start < len(prompt) else None

    def _encode(self, prompt: str, response: str) -> list[int]:
        return _encode(self.options, self.model.tokenizer, prompt, response)

    def _rate(self, texts: list[list[int]]) -> list[float]:
        if not texts:
            return []
        values: dict[int, float] = {}

        def keep(event: Event) -> None:
            if event["event"] == "ratings":
                values.update(zip(event["texts"], event["ratings"], strict=True))
            else:
                publish(event)

        job = RateJob(self.model.folder, self.compute.for_engine())
        run_job(job, self.compute.scratch, ragged={"texts": texts}, on_event=keep)
        return [values[number] for number in range(len(texts))]


def build(options: Options, resources: Resources) -> RewardModel:
    """Return the judge; a positive verdict says that the response is safe."""
    from bdpo_pipeline.models.loading import check_rating_model

    def try_it(model: OpenedModel) -> None:
        check_rating_model(model.folder)
        _encode(options, model.tokenizer, "A prompt", "A response")

    compute = needed(resources.compute, "the compute parameters", "reward_model")
    return RewardModel(options, compute, open_model(options.model, compute.scratch, try_it))


def _encode(options: Options, tokenizer: "PreTrainedTokenizerBase", prompt: str, response: str) -> list[int]:
    from bdpo_pipeline.models.encoding import encode_conversation

    if options.template is None:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        return encode_conversation(tokenizer, turns)
    ids: list[int] = tokenizer(fill(options.template, {"{prompt}": prompt, "{response}": response}))[
        "input_ids"
    ]
    return ids
