"""Answers from a server that speaks the OpenAI protocol, such as vLLM, SGLang or `transformers serve`."""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bdpo_pipeline.engine.events import publish
from bdpo_pipeline.engine.kept import gather, read_kept
from bdpo_pipeline.engine.taken import Taken
from bdpo_pipeline.locks import alone
from bdpo_pipeline.parameters import ParameterGroup

if TYPE_CHECKING:
    from openai import OpenAI

Reply = dict[str, Any]

logger = logging.getLogger(__name__)
_RETRIES = 5
_LIST_SECONDS = 10.0
# With these a server refuses one request, as it stands: it does not like the content, or it is too long.
_REFUSING = (400, 413, 422)


class EndpointError(RuntimeError):
    """The server did not answer as it must; the message says which server, which model and why."""


class _WithheldError(EndpointError):
    """The server answered one request and keeps the answer to itself."""


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


@dataclass(frozen=True)
class _Asking:
    """What a server is asked for: all that replies follow from.

    Attributes:
        url: of the server.
        model: its name of the model.
        how: names the protocol's call and its settings.
        asked: a prompt or conversation for each reply.
    """

    url: str
    model: str
    how: dict[str, Any]
    asked: list[Any]

    def folder(self, scratch: Path) -> Path:
        """Return where replies are kept; the same for the same asking, and for no other."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return scratch / f"ask-{digest[:16]}"


def answer_prompts(
    server: ServerParameters,
    model: str,
    prompts: Sequence[str],
    max_new_tokens: int,
    scratch: Path,
    *,
    adds_special_tokens: bool = False,
) -> list[Answer]:
    """Return greedy answers in the order of the prompts, which are rendered texts with all marks of the chat template.

    Requests that fail in passing (no connection, overload, an error of the server) are made again, with growing pauses. The answer to a
    prompt that the server refuses, as it filters it or its answer or has not the room for it, is an empty text of no tokens; a warning
    counts them.

    Args:
        server: the server.
        model: its name of the model.
        prompts: the texts.
        max_new_tokens: an answer is cut there.
        scratch: folder below which answers are kept as they come, so that a run that was cut off asks for the rest only.
        adds_special_tokens: whether the tokenizer adds tokens to a text unasked; the server is then told not to, which vLLM understands.

    Raises:
        EndpointError: the client is not installed, the key is missing, or the server fails for good or refuses all requests.
    """
    extra = {"add_special_tokens": False} if adds_special_tokens else None
    how = {"call": "completions", "max_tokens": max_new_tokens, "extra_body": extra}

    def ask(client: "OpenAI", prompt: str) -> Reply:
        found = client.completions.create(
            model=model, prompt=prompt, max_tokens=max_new_tokens, temperature=0, extra_body=extra
        )
        choice = _only_choice(server, model, found)
        if choice.finish_reason == "content_filter":
            raise _WithheldError(f"{server.url} filtered the answer of the model {model!r}")
        if found.usage is None or choice.finish_reason not in ("stop", "length"):
            raise EndpointError(
                f"{server.url} answered as {model!r} without its count of tokens or ended for another reason than its own end or the "
                f"bound: finish_reason {choice.finish_reason!r}, usage {found.usage}"
            )
        ended = choice.finish_reason == "stop"
        return {"text": choice.text, "tokens": found.usage.completion_tokens, "finished": ended}

    replies = _ask_all(server, _Asking(server.url, model, how, list(prompts)), ask, scratch)
    return [Answer("", 0, finished=False) if reply is None else Answer(**reply) for reply in replies]


def answer_conversations(
    server: ServerParameters,
    model: str,
    conversations: Sequence[Sequence[dict[str, str]]],
    max_new_tokens: int,
    scratch: Path,
) -> list[str]:
    """Return greedy answers to conversations, in order; the server renders them with its own chat template.

    Requests are made again as in :func:`answer_prompts`. An answer that the server withholds is an empty text, as is the answer to a
    conversation that it refuses.

    Args:
        server: the server.
        model: its name of the model.
        conversations: messages with ``role`` and ``content``.
        max_new_tokens: an answer is cut there.
        scratch: see :func:`answer_prompts`.

    Raises:
        EndpointError: see :func:`answer_prompts`.
    """
    how = {"call": "chat.completions", "max_tokens": max_new_tokens}

    def ask(client: "OpenAI", messages: Sequence[Any]) -> Reply:
        found = client.chat.completions.create(
            model=model, messages=list(messages), max_tokens=max_new_tokens, temperature=0
        )
        return {"text": _only_choice(server, model, found).message.content or ""}

    asking = _Asking(server.url, model, how, [list(messages) for messages in conversations])
    replies = _ask_all(server, asking, ask, scratch)
    return ["" if reply is None else reply["text"] for reply in replies]


def check_client(server: ServerParameters) -> None:
    """Check that a server can be asked, without asking it.

    Raises:
        EndpointError: the client is not installed, or the key is missing.
    """
    _client(server).close()


def _ask_all(
    server: ServerParameters, asking: _Asking, ask: "Callable[[OpenAI, Any], Reply]", scratch: Path
) -> list[Reply | None]:
    """Return the reply to each that is asked, None where the server refuses the request.

    Replies are kept below ``scratch`` until the caller's node has its outputs in the catalog; see :mod:`bdpo_pipeline.engine.kept`.
    """
    client = _client(server)
    folder = asking.folder(scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        folder.mkdir(exist_ok=True)
        gather(folder)
        replies = {event["number"]: event["reply"] for event in read_kept(folder)}
        if replies:
            logger.info("%d of %d replies of an earlier run are taken", len(replies), len(asking.asked))
        missing = [number for number in range(len(asking.asked)) if number not in replies]
        refusals = _ask_missing(server, client, asking, ask, missing, folder, replies)
        if refusals and not replies:
            raise refusals[0]
        if refusals:
            logger.warning(
                "%s refused %d of %d requests, which count as answered by nothing. The first: %s",
                *(server.url, len(refusals), len(asking.asked), refusals[0]),
            )
        publish({"event": "finished", "taken": Taken(folder)})
    return [replies.get(number) for number in range(len(asking.asked))]


def _ask_missing(
    server: ServerParameters,
    client: "OpenAI",
    asking: _Asking,
    ask: "Callable[[OpenAI, Any], Reply]",
    missing: Sequence[int],
    folder: Path,
    replies: dict[int, Reply],
) -> list[EndpointError]:
    """Ask for the missing replies and put them with the others and into the folder; return what is said of refused requests."""
    from openai import APIStatusError, OpenAIError

    from bdpo_pipeline.engine.context import EventWriter

    writer, writing = EventWriter(folder / "events-0.jsonl"), threading.Lock()

    def ask_one(number: int) -> EndpointError | None:
        try:
            reply = ask(client, asking.asked[number])
        except _WithheldError as error:
            return error
        except OpenAIError as error:
            failure = EndpointError(
                f"{server.url} gave no answer of the model {asking.model!r}: {type(error).__name__}: {error}. "
                f"{_offered(client)}Check the parameters of this endpoint and the server's log"
            )
            failure.__cause__ = error
            if isinstance(error, APIStatusError) and error.status_code in _REFUSING:
                return failure
            raise failure  # noqa: B904 - its cause is set
        with writing:
            writer.keep({"event": "reply", "number": number, "reply": reply})
            replies[number] = reply
        return None

    with client, ThreadPoolExecutor(server.concurrency) as pool:
        requests = [pool.submit(ask_one, number) for number in missing]
        try:
            found = [request.result() for request in requests]
        except BaseException:
            # An interrupt as well: what waits is not asked any more.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [refusal for refusal in found if refusal is not None]


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
