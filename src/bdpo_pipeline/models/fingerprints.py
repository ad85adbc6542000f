"""Fingerprints of model files: what a reference log-prob was computed with, and what an adapter was trained on."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

_BLOCK = 1 << 22
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_files(paths: Iterable[Path], hash_one: Callable[[Path], str] = hash_file) -> str:
    """Return one SHA-256 over names and contents of several files, whatever their order.

    Args:
        paths: the files.
        hash_one: gives that of one file; one that remembers spares reading it again.
    """
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        digest.update(f"{path.name}\0{hash_one(path)}\0".encode())
    return digest.hexdigest()


def hash_weights(folder: Path, hash_one: Callable[[Path], str] = hash_file) -> str:
    """Return the SHA-256 of a model folder's safetensors shards and its config.

    The config belongs to it: the same tensors under another RoPE base give other log-probs.

    Raises:
        FileNotFoundError: the folder holds no safetensors.
    """
    shards = list(folder.glob("*.safetensors"))
    if not shards:
        raise FileNotFoundError(
            f"{folder} holds no *.safetensors; convert the checkpoint first (save_pretrained of transformers writes them)"
        )
    return hash_files([*shards, folder / "config.json"], hash_one)


def hash_tokenizer(folder: Path, hash_one: Callable[[Path], str] = hash_file) -> str:
    """Return the SHA-256 of the tokenizer's files, chat template included."""
    return hash_files((path for name in TOKENIZER_FILES if (path := folder / name).exists()), hash_one)
