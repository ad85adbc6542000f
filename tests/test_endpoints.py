"""Answers of a real server of the OpenAI protocol (`transformers serve`) against the worker's."""

import os
import socket
import subprocess
import sys
import threading
import time
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pandas as pd
import pytest
import torch

from bdpo_pipeline import alignment
from bdpo_pipeline.endpoints import Answer, EndpointError, EndpointParameters, answer_prompts
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.models.encoding import encode_prompts
from bdpo_pipeline.models.loading import load_model, load_tokenizer
from bdpo_pipeline.models.tiny import build_tiny_model

from .json_server import JsonHandler

QUESTIONS = [
    "How do I bake bread?",
    "Hello",
    "What is the tallest mountain on earth, and who climbed it first?",
]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """A model with other weights and the base's tokenizer, which ends its answer to the last question early."""
    folder = tmp_path_factory.mktemp("trained")
    build_tiny_model("llama", folder, seed=1)
    model, tokenizer = load_model(folder, dtype="float32"), load_tokenizer(folder)
    [ids] = encode_prompts(tokenizer, [[{"role": "user", "content": QUESTIONS[-1]}]])
    answer = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=5, do_sample=False)[0, len(ids) :]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, int(answer[-1])]
    model.generation_config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    port, folder = free_port(), tmp_path_factory.mktemp("serve")
    command = "from transformers.cli.transformers import main; main()"
    arguments = ["serve", "--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", command, *arguments], stdout=log, stderr=log, env=environment
        )
    try:
        deadline = time.monotonic() + 300
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def answers(address: str) -> bool:
    try:
        return urlopen(address, timeout=5).status == 200  # noqa: S310 - an address of this test
    except (URLError, TimeoutError):
        return False


def test_a_server_s_answers_are_the_worker_s(tiny_model, trained, url, tmp_path):
    base = tiny_model("llama")
    prompts = pd.DataFrame(
        {
            "prompt_id": [f"x/{i}" for i in range(len(QUESTIONS))],
            "prompt_set": "x",
            "prompt": QUESTIONS,
            "goal": [None, *(f"the plain request behind {text}" for text in QUESTIONS[1:])],
            "category": None,
            "desired": "comply",
        }
    )
    local = alignment.generate_responses(
        base,
        trained,
        prompts,
        max_new_tokens=12,
        batch_size=2,
        compute=Compute(device="cpu", threads=1),
        scratch=tmp_path,
    )
    endpoint = EndpointParameters(url=url, base=base["path"], adapter=str(trained), concurrency=2)
    served = alignment.request_responses(
        base, prompts, endpoint=endpoint, max_new_tokens=12, scratch=tmp_path
    )
    pd.testing.assert_frame_equal(served.drop(columns="answered_by"), local.drop(columns="answered_by"))
    goals = prompts.set_index("prompt_id")["goal"]
    for table in (served, local):
        assert table["goal"].isna().sum() == 2
        assert table["goal"].equals(goals[table["prompt_id"]].reset_index(drop=True))
    assert served["finished"].any()
    assert not served["finished"].all()
    assert set(local["answered_by"]) == {"worker"}
    assert set(served["answered_by"]) == {f"{base['path']} at {url}", f"{trained} at {url}"}
    assert (
        served[served["model"] == "base"]["response"].values
        != served[served["model"] == "adapter"]["response"].values
    ).any()


def test_a_model_that_the_server_lacks_is_an_error_that_names_it(url, tmp_path):
    endpoint = EndpointParameters(url=url, base="no/such-model", adapter="b")
    with pytest.raises(EndpointError, match="'no/such-model'"):
        answer_prompts(endpoint, endpoint.base, ["Hello"], 2, tmp_path)


def test_a_server_that_is_not_there_is_an_error_that_names_it(tmp_path):
    endpoint = EndpointParameters(url=f"http://127.0.0.1:{free_port()}/v1", base="a", adapter="b")
    with pytest.raises(EndpointError, match=r"http://127\.0\.0\.1:\d+/v1.*Connection"):
        answer_prompts(endpoint, endpoint.base, ["Hello"], 2, tmp_path)


def test_the_key_comes_from_the_environment_and_stays_out_of_messages(monkeypatch, tmp_path):
    endpoint = EndpointParameters(
        url=f"http://127.0.0.1:{free_port()}/v1", base="a", adapter="b", key_variable="SERVER_KEY"
    )
    with pytest.raises(EndpointError, match="SERVER_KEY"):
        answer_prompts(endpoint, endpoint.base, ["Hello"], 2, tmp_path)
    monkeypatch.setenv("SERVER_KEY", "a-secret")
    with pytest.raises(EndpointError, match="Connection") as error:
        answer_prompts(endpoint, endpoint.base, ["Hello"], 2, tmp_path)
    assert "a-secret" not in str(error.value)


class Filtering(JsonHandler):
    """Answers a prompt by itself, refuses one that holds `forbidden`, and withholds its answer to one that holds `delicate`."""

    def answer(self, asked: Any) -> None:
        if "forbidden" in asked["prompt"]:
            self.send_error(400)
            return
        ended = "content_filter" if "delicate" in asked["prompt"] else "stop"
        choice = {"index": 0, "text": asked["prompt"], "finish_reason": ended, "logprobs": None}
        usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
        body = {"id": "1", "object": "text_completion", "created": 0, "model": "m", "choices": [choice]}
        self.send_json({**body, "usage": usage})


def test_a_prompt_that_the_server_refuses_is_answered_by_nothing(tmp_path, caplog):
    with ThreadingHTTPServer(("127.0.0.1", 0), Filtering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        endpoint = EndpointParameters(url=address, base="a", adapter="b")
        found = answer_prompts(
            endpoint, "a", ["one", "a forbidden one", "a delicate one", "two"], 4, tmp_path
        )
        with pytest.raises(EndpointError, match=r"'a'.*400"):
            answer_prompts(endpoint, "a", ["forbidden", "forbidden, too"], 4, tmp_path)
        server.shutdown()
    nothing = Answer("", 0, False)
    assert found == [Answer("one", 3, True), nothing, nothing, Answer("two", 3, True)]
    assert "refused 2 of 4 requests" in caplog.text
