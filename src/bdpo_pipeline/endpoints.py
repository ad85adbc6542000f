"""Answers from a server that speaks the OpenAI protocol, such as vLLM, SGLang or `transformers serve`."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from bdpo_pipeline.parameters import ParameterGroup

if TYPE_CHECKING:
    from openai import OpenAI

logger = logging.getLogger(__name__)
_RETRIES = 5
_LIST_SECONDS = 10.0


class EndpointError(RuntimeError):
    """The server did not answer as it must; the message says which server, which model and why."""


class EndpointParameters(ParameterGroup):
    """A server, and by what names it has the two models; see docs/generation.md."""

    url: str = Field(pattern=r"^https?://[^@]+$", description="such as http://localhost:8000/v1")
    base: str = Field(min_length=1, description="its name of the base model")
    adapter: str = Field(min_length=1, description="its name of the trained model")
    key_variable: str | None = Field(
        None, description="environment variable with the key, where one is asked for"
    )
    concurrency: int = Field(64, ge=1, description="requests at a time")
    timeout_seconds: float = Field(600, gt=0, description="for one answer")


@dataclass(frozen=True)
class Answer:
    """A response, how many tokens it has, and whether the model ended it itself."""

    text: str
    tokens: int
    finished: bool


def answer_prompts(
    endpoint: EndpointParameters,
    model: str,
    prompts: Sequence[str],
    max_new_tokens: int,
    *,
    adds_special_tokens: bool = False,
) -> list[Answer]:
    """Return greedy answers in the order of the prompts, which are rendered texts with all marks of the chat template.

    Requests that fail in passing (no connection, overload, an error of the server) are made again, with growing pauses.

    Args:
        endpoint: the server.
        model: its name of the model.
        prompts: the texts.
        max_new_tokens: an answer is cut there.
        adds_special_tokens: whether the tokenizer adds tokens to a text unasked; the server is then told not to, which vLLM understands.

    Raises:
        EndpointError: the client is not installed, the key is missing, or the server refuses or fails for good.
    """
    client = _client(endpoint)
    extra = {"add_special_tokens": False} if adds_special_tokens else None

    def ask(prompt: str) -> Answer:
        return _ask(client, endpoint, model, prompt, max_new_tokens, extra)

    with client, ThreadPoolExecutor(endpoint.concurrency) as pool:
        requests = [pool.submit(ask, prompt) for prompt in prompts]
        try:
            return [request.result() for request in requests]
        except BaseException:
            # An interrupt as well: what waits is not asked any more.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _client(endpoint: EndpointParameters) -> "OpenAI":
    try:
        from openai import OpenAI
    except ImportError as error:
        raise EndpointError(
            "generation.endpoint needs the package openai: pip install 'bdpo_pipeline[endpoint]'"
        ) from error
    # Servers without a key take any.
    key = "none" if endpoint.key_variable is None else os.environ.get(endpoint.key_variable)
    if not key:
        raise EndpointError(
            f"generation.endpoint.key_variable names {endpoint.key_variable}, and there is no such environment variable: set it to "
            "the server's key"
        )
    return OpenAI(base_url=endpoint.url, api_key=key, max_retries=_RETRIES, timeout=endpoint.timeout_seconds)


def _ask(
    client: "OpenAI",
    endpoint: EndpointParameters,
    model: str,
    prompt: str,
    number: int,
    extra: dict[str, bool] | None,
) -> Answer:
    from openai import OpenAIError

    try:
        found = client.completions.create(
            model=model, prompt=prompt, max_tokens=number, temperature=0, extra_body=extra
        )
    except OpenAIError as error:
        raise EndpointError(
            f"{endpoint.url} gave no answer of the model {model!r}: {type(error).__name__}: {error}. "
            f"{_offered(client)}Check generation.endpoint and the server's log"
        ) from error
    if len(found.choices) != 1:
        raise EndpointError(
            f"{endpoint.url} gave {len(found.choices)} answers of the model {model!r}, not one"
        )
    [choice] = found.choices
    if found.usage is None or choice.finish_reason not in ("stop", "length"):
        raise EndpointError(
            f"{endpoint.url} answered as {model!r} without its count of tokens or ended for another reason than its own end or the "
            f"bound: finish_reason {choice.finish_reason!r}, usage {found.usage}"
        )
    return Answer(choice.text, found.usage.completion_tokens, choice.finish_reason == "stop")


def _offered(client: "OpenAI") -> str:
    """Say which models the server has, if it says so itself."""
    from openai import OpenAIError

    try:
        names = [
            model.id for model in client.with_options(max_retries=0, timeout=_LIST_SECONDS).models.list()
        ]
    except OpenAIError:
        return ""
    return f"It has the models {', '.join(names)}. "
