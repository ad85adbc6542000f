"""Answers from a server that speaks the OpenAI protocol, such as vLLM, SGLang or `transformers serve`."""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from bdpo_pipeline.parameters import ParameterGroup

if TYPE_CHECKING:
    from openai import OpenAI

T = TypeVar("T")

logger = logging.getLogger(__name__)
_RETRIES = 5
_LIST_SECONDS = 10.0


class EndpointError(RuntimeError):
    """The server did not answer as it must; the message says which server, which model and why."""


class ServerParameters(ParameterGroup):
    """A server of the OpenAI protocol."""

    url: str = Field(pattern=r"^https?://[^@]+$", description="such as http://localhost:8000/v1")
    key_variable: str | None = Field(
        None, description="environment variable with the key, where one is asked for"
    )
    concurrency: int = Field(64, ge=1, description="requests at a time")
    timeout_seconds: float = Field(600, gt=0, description="for one answer")


class EndpointParameters(ServerParameters):
    """A server, and by what names it has the two models; see docs/generation.md."""

    base: str = Field(min_length=1, description="its name of the base model")
    adapter: str = Field(min_length=1, description="its name of the trained model")


@dataclass(frozen=True)
class Answer:
    """A response, how many tokens it has, and whether the model ended it itself."""

    text: str
    tokens: int
    finished: bool


def answer_prompts(
    server: ServerParameters,
    model: str,
    prompts: Sequence[str],
    max_new_tokens: int,
    *,
    adds_special_tokens: bool = False,
) -> list[Answer]:
    """Return greedy answers in the order of the prompts, which are rendered texts with all marks of the chat template.

    Requests that fail in passing (no connection, overload, an error of the server) are made again, with growing pauses.

    Args:
        server: the server.
        model: its name of the model.
        prompts: the texts.
        max_new_tokens: an answer is cut there.
        adds_special_tokens: whether the tokenizer adds tokens to a text unasked; the server is then told not to, which vLLM understands.

    Raises:
        EndpointError: the client is not installed, the key is missing, or the server refuses or fails for good.
    """
    extra = {"add_special_tokens": False} if adds_special_tokens else None

    def ask(client: "OpenAI", prompt: str) -> Answer:
        found = client.completions.create(
            model=model, prompt=prompt, max_tokens=max_new_tokens, temperature=0, extra_body=extra
        )
        choice = _only_choice(server, model, found)
        if found.usage is None or choice.finish_reason not in ("stop", "length"):
            raise EndpointError(
                f"{server.url} answered as {model!r} without its count of tokens or ended for another reason than its own end or the "
                f"bound: finish_reason {choice.finish_reason!r}, usage {found.usage}"
            )
        return Answer(choice.text, found.usage.completion_tokens, choice.finish_reason == "stop")

    return _ask_all(server, model, prompts, ask)


def answer_conversations(
    server: ServerParameters,
    model: str,
    conversations: Sequence[Sequence[dict[str, str]]],
    max_new_tokens: int,
) -> list[str]:
    """Return greedy answers to conversations, in order; the server renders them with its own chat template.

    Requests are made again as in :func:`answer_prompts`. An answer that the server withholds is an empty text.

    Args:
        server: the server.
        model: its name of the model.
        conversations: messages with ``role`` and ``content``.
        max_new_tokens: an answer is cut there.

    Raises:
        EndpointError: see :func:`answer_prompts`.
    """

    def ask(client: "OpenAI", messages: Sequence[Any]) -> str:
        found = client.chat.completions.create(
            model=model, messages=list(messages), max_tokens=max_new_tokens, temperature=0
        )
        return _only_choice(server, model, found).message.content or ""

    return _ask_all(server, model, conversations, ask)


def _ask_all(
    server: ServerParameters, model: str, asked: Sequence[Any], ask: "Callable[[OpenAI, Any], T]"
) -> list[T]:
    client = _client(server)

    def ask_one(one: Any) -> T:
        from openai import OpenAIError

        try:
            return ask(client, one)
        except OpenAIError as error:
            raise EndpointError(
                f"{server.url} gave no answer of the model {model!r}: {type(error).__name__}: {error}. "
                f"{_offered(client)}Check the parameters of this endpoint and the server's log"
            ) from error

    with client, ThreadPoolExecutor(server.concurrency) as pool:
        requests = [pool.submit(ask_one, one) for one in asked]
        try:
            return [request.result() for request in requests]
        except BaseException:
            # An interrupt as well: what waits is not asked any more.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _client(server: ServerParameters) -> "OpenAI":
    try:
        from openai import OpenAI
    except ImportError as error:
        raise EndpointError(
            f"to ask {server.url}, the package openai is needed: pip install 'bdpo_pipeline[endpoint]'"
        ) from error
    # Servers without a key take any.
    key = "none" if server.key_variable is None else os.environ.get(server.key_variable)
    if not key:
        raise EndpointError(
            f"key_variable of {server.url} names {server.key_variable}, and there is no such environment variable: set it to the "
            "server's key"
        )
    return OpenAI(base_url=server.url, api_key=key, max_retries=_RETRIES, timeout=server.timeout_seconds)


def _only_choice(server: ServerParameters, model: str, found: Any) -> Any:
    if len(found.choices) != 1:
        raise EndpointError(f"{server.url} gave {len(found.choices)} answers of the model {model!r}, not one")
    return found.choices[0]


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
