"""The benchmark of training, in small: who is told to do the same does the same, and nothing is measured twice."""

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from bdpo_pipeline.engine.jobs import LoraSpec
from bdpo_pipeline.engine.layout import Row, build_batch
from bdpo_pipeline.engine.logps import response_logps
from bdpo_pipeline.engine.lora import fuse_lora
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks" / "training"
CASES = ["float32", "float32/full"]
STEPS, PER_STEP = 2, 2


@pytest.fixture(scope="module", autouse=True)
def _scripts():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield


def compare(work: Path, out: Path) -> None:
    options = [
        "--model=tiny_random:llama",
        f"--steps={STEPS}",
        f"--pairs-per-step={PER_STEP}",
        "--longest=2000",
    ]
    options += [
        "--threads=1",
        "--tokens-per-batch=1024",
        "--cases",
        *CASES,
        "--stages",
        "--trl",
        sys.executable,
    ]
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "compare.py"), *options, f"--work={work}", f"--out={out}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    work, out = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("out")
    compare(work, out)
    return work, out


def saved(work: Path) -> dict[tuple[str, str], dict]:
    rows = [json.loads(path.read_text()) for path in (work / "results").glob("*.json")]
    return {(row["case"], row["contestant"]): row for row in rows if "case" in row}


def test_losses_agree_with_those_of_trl(made):
    results = saved(made[0])
    assert len(results) == 2 * len(CASES)
    for case in CASES:
        ours, [theirs] = (
            results[case, "ours"],
            [row for (of, name), row in results.items() if of == case and name.startswith("TRL")],
        )
        assert len(ours["losses"]) == STEPS
        assert ours["losses"] == pytest.approx(theirs["losses"], abs=1e-3)
        # The weights have moved, so that the second step compares more than the references.
        assert abs(ours["losses"][1] - ours["losses"][0]) > 1e-5
        assert ours["needed_flops"] > 0


def test_the_page_has_every_case_and_contestant(made):
    page = (made[1] / "results" / "training_speed.md").read_text()
    assert re.findall(r"^### (.*)$", page, re.M) == CASES
    rows = [line.split(" | ") for line in page.splitlines() if re.match(r"\| (ours|TRL \d[\d.]*) \|", line)]
    assert [row[0].strip("| ")[:3] for row in rows] == ["our", "TRL"] * len(CASES)
    for row in rows:
        for cell in row[1:6]:
            assert float(cell) > 0
        assert float(row[-1].strip("| ")) < 1e-3
    assert str(made[0]) not in page
    figure = made[1] / "figures" / "training_speed.svg"
    assert ElementTree.parse(figure).getroot().tag.endswith("svg")  # noqa: S314


def test_a_second_run_measures_nothing_and_gives_the_same_page_and_plot(made, tmp_path):
    work, out = made
    before = {path: path.stat().st_mtime_ns for path in (work / "results").iterdir()}
    compare(work, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (work / "results").iterdir()} == before
    for name in ("results/training_speed.md", "figures/training_speed.svg"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_every_way_to_compute_a_step_gives_the_same_gradient(made, tmp_path, monkeypatch):
    import run_stage
    from cases import TRICKS
    from figure import draw
    from page import write_page

    [workload] = (made[0] / "workloads").iterdir()
    model = json.loads((workload / "base_model.json").read_text())["path"]
    out = tmp_path / "stage.json"
    arguments = ["run_stage.py", str(workload), model, str(out), "--gradient", str(tmp_path / "gradient")]
    arguments += [f"--steps={STEPS}", f"--pairs-per-step={PER_STEP}", "--threads=1"]
    stages = []
    for number, trick in enumerate(TRICKS):
        monkeypatch.setattr(sys, "argv", [*arguments, f"--tricks={number}"])
        run_stage.main()
        size = {"dtype": "float32", "device": "cpu", "steps": STEPS, "pairs_per_step": PER_STEP}
        about = {"trick": trick, "tricks": number, "date": "", "commit": ""}
        stages.append({**json.loads(out.read_text()), **size, **about})
    torch.use_deterministic_algorithms(False)
    assert [stage["gradient_difference"] < 1e-3 for stage in stages] == [True] * len(TRICKS)
    for stage in stages:
        assert stage["losses"] == pytest.approx(stages[0]["losses"], abs=1e-4)
    # Each but the last few has its own rounding: the ways are not one way under several names.
    assert len({stage["gradient_difference"] for stage in stages}) >= 4

    results = list(saved(made[0]).values())
    shared = {"peak_flops": 1e11, "learning_rate": 1e-4, "full": False, "large_vocabulary": False}
    ours_first = sorted(results, key=lambda row: (row["case"], row["contestant"] != "ours"))
    results = [{**row, **shared} for row in ours_first]
    write_page(tmp_path / "page.md", results, stages, "command")
    draw(tmp_path / "plot.svg", results, stages)
    page = (tmp_path / "page.md").read_text()
    assert all(trick in page for trick in TRICKS)
    assert (tmp_path / "plot.svg").stat().st_size > 10_000


@pytest.mark.parametrize("lora", [LoraSpec(r=4, alpha=8, dropout=0.0, target_modules="all-linear"), None])
def test_counted_operations_are_those_that_torch_counts(tiny_model, lora):
    """In bfloat16 the engine attends by plain matrix products, so torch's counter sees every one."""
    from flops import Places, count_flops, count_places, shapes_of
    from torch.utils.flop_counter import FlopCounterMode

    path = tiny_model("llama")["path"]
    model = load_model(path, dtype="bfloat16")
    if lora is None:
        model.requires_grad_(True)
    else:
        model = add_lora(model, **vars(lora), seed=0)
        fuse_lora(model)
    batch = build_batch([Row([5, 6, 7, 8], [[9, 10, 11], [12, 13]]), Row([5, 6, 9], [[1, 2], [3, 4, 5, 6]])])
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        response_logps(model, batch).sum().backward()
    found = counter.get_flop_counts()["Global"]
    attention = sum(flops for operation, flops in found.items() if "bmm" in str(operation))
    places = count_places([batch])
    shapes = shapes_of(path, lora, trained=True)
    linear = count_flops(shapes, Places(places.computed, places.scored, 0))
    assert linear == sum(found.values()) - attention
    # The engine multiplies what it then masks within a segment; that is not needed.
    square = sum(mask.numel() for mask in batch.segments.masks)
    assert places.seen == sum(int(mask.sum()) for mask in batch.segments.masks)
    assert count_flops(shapes, Places(0, 0, square)) == attention
    assert count_flops(shapes, places) < sum(found.values())


def test_a_contestant_that_takes_too_much_memory_is_killed(tmp_path):
    from watch import OutOfMemoryError, run_watched

    greedy = "import time; held = b'x' * 400_000_000; time.sleep(60)"
    with pytest.raises(OutOfMemoryError, match="killed at"):
        run_watched([sys.executable, "-c", greedy], threads=1, limit_bytes=200_000_000)
    with pytest.raises(RuntimeError, match="no such thing"):
        run_watched([sys.executable, "-c", "raise SystemExit('no such thing')"], threads=1, limit_bytes=10**9)


def test_trl_takes_fewer_pairs_at_once_until_they_fit(tmp_path):
    from argparse import Namespace

    from compare import halves, run_in_memory

    script = tmp_path / "script.py"
    script.write_text(
        "import json, pathlib, sys, time\n"
        "fits, size = int(sys.argv[2]), int(sys.argv[3].split('=')[1])\n"
        "held = b'x' * (100_000_000 * size)\n"
        "time.sleep(0 if size <= fits else 60)\n"
        "pathlib.Path(sys.argv[1]).write_text(json.dumps({'size': size}))\n"
    )
    options = Namespace(work=tmp_path, threads=1, memory_limit=0.35)
    sizes = list(halves(8))
    assert sizes == [8, 4, 2, 1]
    found = run_in_memory([sys.executable, str(script)], ["2"], sizes, options)
    assert found["size"] == 2
    assert [line.split(":")[0] for line in found["did_not_fit"]] == ["8 pairs at once", "4 pairs at once"]
    options.memory_limit = 0.01
    assert "size" not in run_in_memory([sys.executable, str(script)], ["0"], sizes, options)


def test_a_large_vocabulary_keeps_the_model_and_grows_its_head(tiny_model, tmp_path):
    from workload import LARGE_VOCABULARY, with_large_vocabulary

    base = tiny_model("llama")
    grown = with_large_vocabulary(base, tmp_path / "large")
    small, large = (load_model(model["path"], dtype="float32") for model in (base, grown))
    assert large.get_output_embeddings().weight.shape[0] == LARGE_VOCABULARY
    kept, head = small.get_output_embeddings().weight, large.get_output_embeddings().weight
    for start in (0, len(kept), 10 * len(kept)):
        torch.testing.assert_close(head[start : start + len(kept)], kept)
    assert head.abs().sum(1).min() > 0
    assert grown["weights_sha256"] != base["weights_sha256"]
