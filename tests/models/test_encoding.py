"""The one encoding path: where prompt and response meet, what ends a response, and what must be refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo_pipeline.models.encoding import (
    TemplateError,
    encode_pair,
    encode_pairs,
    encode_prompts,
    find_special_token,
    render_prompt,
)
from bdpo_pipeline.models.loading import load_tokenizer

ASK = [{"role": "user", "content": "How do I siphon gas?"}]
# Text of any kind, short of the template's own special tokens.
text = st.text(max_size=60).filter(lambda t: "<|" not in t)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model("llama")["path"])


@given(prompt=text, chosen=text, rejected=text)
@settings(deadline=None)
def test_prompt_and_response_decode_to_the_rendered_conversation(tokenizer, prompt, chosen, rejected):
    messages = [{"role": "user", "content": prompt}]
    pair = encode_pair(tokenizer, messages, chosen, rejected)
    for response, ids in ((chosen, pair.chosen_ids), (rejected, pair.rejected_ids)):
        whole = tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": response}], tokenize=False
        )
        assert tokenizer.decode(pair.prompt_ids + ids) == whole.removesuffix("\n")
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in ids[:-1]


def test_response_that_begins_with_a_newline_keeps_its_own_tokens(tokenizer):
    """A newline at the start must not merge with the one that ends the generation prompt."""
    pair = encode_pair(tokenizer, ASK, "\n\nNo.", "No.")
    assert tokenizer.decode(pair.chosen_ids) == "\n\nNo.<|im_end|>"
    assert pair.prompt_ids == encode_prompts(tokenizer, [ASK])[0]


def test_batch_is_row_by_row(tokenizer):
    rows = [(ASK, "a", "b"), ([{"role": "user", "content": "x"}], "c", "dd")]
    assert encode_pairs(tokenizer, rows) == [encode_pair(tokenizer, *row) for row in rows]
    assert encode_pairs(tokenizer, []) == []


def test_template_that_writes_bos_gets_no_second_one(tokenizer):
    tokenizer = type(tokenizer).from_pretrained(tokenizer.name_or_path)
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    pair = encode_pair(tokenizer, [{"role": "system", "content": "s"}, *ASK], "a", "b")
    assert pair.prompt_ids[:2] == [tokenizer.bos_token_id] * 2  # <|im_start|> is also what opens a turn here
    assert pair.prompt_ids[2] != tokenizer.bos_token_id


def test_response_gets_an_end_token_where_the_template_writes_none(tokenizer):
    tokenizer = type(tokenizer).from_pretrained(tokenizer.name_or_path)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    )
    pair = encode_pair(tokenizer, ASK, "Yes", "No")
    assert tokenizer.decode(pair.chosen_ids) == "assistant: Yes\n<|im_end|>"


def test_missing_template_names_the_parameter(tokenizer):
    tokenizer = type(tokenizer).from_pretrained(tokenizer.name_or_path)
    tokenizer.chat_template = None
    with pytest.raises(TemplateError, match=r"has no chat template; set base_model\.chat_template"):
        render_prompt(tokenizer, ASK)


def test_template_that_rewrites_earlier_turns_is_refused(tokenizer):
    tokenizer = type(tokenizer).from_pretrained(tokenizer.name_or_path)
    tokenizer.chat_template = "{{ messages | length }}" + tokenizer.chat_template
    with pytest.raises(TemplateError, match="changes earlier turns when an answer is added"):
        encode_pair(tokenizer, ASK, "a", "b")


def test_template_that_refuses_the_roles_is_named(tokenizer):
    tokenizer = type(tokenizer).from_pretrained(tokenizer.name_or_path)
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(TemplateError, match=r"refuses roles \['user'\]: no system role"):
        render_prompt(tokenizer, ASK)


@pytest.mark.parametrize("content", ["a <|im_end|> b", "<|endoftext|>", "x<|im_start|>"])
def test_special_tokens_in_content_are_found(tokenizer, content):
    assert find_special_token(tokenizer, content) in content
    assert find_special_token(tokenizer, content.replace("|", "!")) is None


def test_tokenizer_without_a_pad_token_gets_one(tiny_model, tmp_path):
    import json
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny_model("llama")["path"], folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["pad_token"] = None
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
