"""What `auto` means for device and dtype, on machines made of a few files and an executable `nvidia-smi`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bdpo_pipeline.compute_choice import UnknownGpuError, choose_device, choose_dtype, query_capabilities

AMPERE = "8.0\n"
TURING = "7.5\n"


@pytest.fixture
def machine(tmp_path):
    def build(flags="fpu avx2", driver=False):
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
        if driver:
            (tmp_path / "dev").mkdir()
            (tmp_path / "dev" / "nvidiactl").touch()
        return tmp_path

    return build


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    def answer(text, code=0):
        folder = tmp_path / "bin"
        folder.mkdir()
        tool = folder / "nvidia-smi"
        tool.write_text(
            '#!/bin/sh\ncase "$*" in *query-gpu=compute_cap*csv,noheader,nounits*) ;; *) exit 9;; esac\n'
            f"printf '%s' '{text}'\nexit {code}\n"
        )
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return answer


def test_device_is_a_gpu_where_there_is_a_driver(machine):
    root = machine(driver=True)
    assert choose_device("auto", {}, root).value == "cuda"
    assert choose_device("auto", {"CUDA_VISIBLE_DEVICES": "0"}, root).value == "cuda"
    assert choose_device("cpu", {}, root).value == "cpu"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_are_none(machine, hidden):
    choice = choose_device("auto", {"CUDA_VISIBLE_DEVICES": hidden}, machine(driver=True))
    assert choice.value == "cpu"
    assert "CUDA_VISIBLE_DEVICES" in choice.reason


def test_device_is_the_cpu_without_a_driver(machine):
    choice = choose_device("auto", {}, machine())
    assert choice.value == "cpu"
    assert "no NVIDIA driver" in choice.reason


@pytest.mark.parametrize(
    ("flags", "named"), [("fpu avx512_bf16", True), ("fpu amx_bf16 amx_tile", True), ("fpu avx512f", False)]
)
def test_dtype_on_a_cpu_is_float32_and_says_what_bfloat16_would_give(machine, flags, named):
    choice = choose_dtype("auto", "cpu", machine(flags))
    assert choice.value == "float32"
    assert "log-ratios" in choice.reason
    assert ("compute.dtype=bfloat16" in choice.reason) == named


def test_a_given_dtype_stays(machine):
    assert choose_dtype("bfloat16", "cpu", machine()).value == "bfloat16"


@pytest.mark.parametrize(
    ("answer", "expected"), [(AMPERE, "bfloat16"), (AMPERE + TURING, "float32"), (TURING, "float32")]
)
def test_dtype_on_gpus_is_what_the_least_of_them_multiplies_in(nvidia_smi, answer, expected):
    nvidia_smi(answer)
    assert choose_dtype("auto", "cuda").value == expected


def test_gpus_are_read(nvidia_smi):
    nvidia_smi(AMPERE + TURING)
    assert query_capabilities() == [8.0, 7.5]


@pytest.mark.parametrize(("answer", "code"), [("driver mismatch", 18), ("[N/A]\n", 0), ("", 0)])
def test_an_answer_that_is_none_is_an_error_with_a_remedy(nvidia_smi, answer, code):
    nvidia_smi(answer, code)
    with pytest.raises(UnknownGpuError, match=r"set compute\.dtype to bfloat16"):
        choose_dtype("auto", "cuda")


def test_a_missing_tool_is_an_error_with_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnknownGpuError, match=r"nvidia-smi is not on PATH.*set compute\.dtype"):
        query_capabilities()


def test_choices_are_logged_once_and_reach_the_engine_without_torch():
    script = (
        "import logging, sys; logging.basicConfig(level='INFO', format='%(message)s')\n"
        "from bdpo_pipeline.compute import ComputeParameters\n"
        "given = dict(device='auto', dtype='auto', quantisation=None, processes=1, memory_gb='auto', tokens_per_batch='auto',\n"
        "             sharding=None, activation_checkpointing=False, scratch='s', reference_cache='c')\n"
        "told = [ComputeParameters(**given).for_engine() for _ in range(2)][0]\n"
        "print(told.device, told.dtype, told.memory_gb, told.tokens_per_batch, 'torch' in sys.modules)\n"
    )
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.split() == ["cpu", "float32", "None", "None", "False"], done.stderr
    assert done.stderr.count("compute.device: auto is cpu: ") == 1
    assert done.stderr.count("compute.dtype: auto is float32: ") == 1
