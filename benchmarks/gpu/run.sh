#!/usr/bin/env bash
# What to run where a GPU is at hand; it writes docs/results/attention_gpu.md and docs/results/training_speed_gpu.md.
#
#   benchmarks/gpu/run.sh [options of benchmarks/training/compare.py]
#
# First the ways to attend, then the engine beside TRL in one run, at equal flags and with TRL's defaults: pairs per second, share of the
# measured matrix-product peak, peak memory, losses. As it stands, the embedded SmolLM2-135M with 64 pairs a step: fewer would leave
# a GPU waiting for launches. For another model: --model folder:PATH --pairs-per-step 16.
#
#   PYTHON  python of the project's environment, with a torch for this GPU (default .venv/bin/python)
#   TRL     pythons of environments with TRL, separated by blanks (default the same)
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
read -ra trl <<<"${TRL:-$python}"
"$python" -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "torch finds no CUDA device")'
"$python" benchmarks/gpu/attention.py docs/results/attention_gpu.md
"$python" benchmarks/training/compare.py --device cuda --cases bfloat16 bfloat16/large-vocabulary float32 \
    --stages bfloat16 --pairs-per-step 64 --trl "${trl[@]}" --trl-defaults --memory-limit 200 --page training_speed_gpu.md "$@"
