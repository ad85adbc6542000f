"""A reward or cost model: a sequence classifier with one output, in a folder or on the hub, whose output decides."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from bdpo_pipeline.engine.events import Event, publish
from bdpo_pipeline.engine.jobs import RateJob
from bdpo_pipeline.engine.launcher import run_job

from .base import Count, Measures, Resources, ThresholdOptions, Verdict, needed
from .models import JudgeModel, find_model

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
    max_tokens: int = Field(2048, gt=0, description="longer texts are cut at their end, and counted")
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
    resources: Resources
    measures: Measures = "safety"
    seen: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def judge(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return one verdict a response; the evidence is the model's output."""
        return [self._verdict(value) for value in self._rate(prompts, responses)]

    def _verdict(self, value: float) -> Verdict:
        options = self.options
        distance = (value - options.centre) / options.scale * (1 if options.higher_is == "safer" else -1)
        # Written with tanh, which no distance overflows.
        score = (1 + math.tanh(distance / 2)) / 2
        return Verdict(score >= options.threshold, score, f"output {value:.3f}")

    def _rate(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        from bdpo_pipeline.models.loading import load_tokenizer

        if not responses:
            return []
        compute = needed(self.resources.compute, "the compute parameters", "reward_model")
        folder = find_model(self.options.model, compute.scratch)
        tokenizer = load_tokenizer(folder)
        encoded = [
            self._encode(tokenizer, prompt, response)
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        most = self.options.max_tokens
        cut = sum(len(ids) > most for ids in encoded)
        if cut:
            logger.warning(
                "%d of %d texts are longer than %d tokens and were cut at their end", cut, len(encoded), most
            )
        values = [math.nan] * len(encoded)

        def keep(event: Event) -> None:
            if event["event"] == "ratings":
                for number, value in zip(event["texts"], event["ratings"], strict=True):
                    values[number] = value
            else:
                publish(event)

        job = RateJob(folder, compute.for_engine())
        run_job(job, compute.scratch, ragged={"texts": [ids[:most] for ids in encoded]}, on_event=keep)
        return values

    def _encode(self, tokenizer: "PreTrainedTokenizerBase", prompt: str, response: str) -> list[int]:
        from bdpo_pipeline.models.encoding import encode_pair

        if self.options.template is None:
            pair = encode_pair(tokenizer, [{"role": "user", "content": prompt}], response, response)
            return [*pair.prompt_ids, *pair.chosen_ids]
        before, after = self.options.template.split("{response}", 1)
        text = before.replace("{prompt}", prompt) + response + after
        ids: list[int] = tokenizer(text)["input_ids"]
        return ids


def build(options: Options, resources: Resources) -> RewardModel:
    """Return the judge; a positive verdict says that the response is safe."""
    return RewardModel(options, resources)
