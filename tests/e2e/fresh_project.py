"""A copy of the project to be edited, and runs in it."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNNER = "bdpo_pipeline.lineage.fresh.FreshRunner"
SOURCE = "src/bdpo_pipeline"
REPORT = "gather_artifacts write_model_card write_report"


@dataclass(frozen=True)
class Run:
    """A finished run: its exit status, its output, and which nodes ran for which reason."""

    status: int
    output: str

    @property
    def ran(self) -> dict[str, str]:
        return dict(re.findall(r"runs: (\S+), because (.*)", self.output))

    @property
    def fresh(self) -> list[str]:
        return re.findall(r"fresh: (\S+) \(", self.output)


@dataclass
class Project:
    """A copy of the project, with a process that runs Kedro in it."""

    folder: Path
    _process: "subprocess.Popen[str]" = field(repr=False)

    def run(self, *arguments: str, env: str = "test", runner: str = RUNNER, path: Path | None = None) -> Run:
        log = self.folder / "output"
        log.write_text("")
        asked = {
            "arguments": ["run", "--env", env, "--runner", runner, *arguments],
            "path": str(path) if path else None,
        }
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        return Run(status, log.read_text())

    def replace(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        file.write_text(text.replace(old, new))

    def append(self, path: str, text: str) -> None:
        with (self.folder / path).open("a") as file:
            file.write(text)

    def newest(self, path: str) -> Path:
        """The file or folder of the newest version of an artifact."""
        place = self.folder / "data" / "test" / path
        versions = sorted(place.iterdir())
        return versions[-1] / place.name


def copy_the_project(folder: Path) -> None:
    for part in ("src", "conf", "data/01_raw"):
        shutil.copytree(
            ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for part in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / part, folder / part)
    # Small, as what matters here is which nodes run; runs are tracked in a test of its own.
    (folder / "conf" / "test" / "tracking.yml").write_text("tracking: {enabled: false}\n")
    (folder / "conf" / "test" / "parameters_generation.yml").write_text(
        "generation: {prompts: {strongreject: 2, xstest: 2}, max_new_tokens: 4}\n"
    )
    (folder / "conf" / "test" / "parameters_evaluation.yml").write_text(
        "heldout_metrics: {resamples: 100, minimum_category_pairs: 2}\n"
    )
    shutil.copytree(folder / "conf" / "test", folder / "conf" / "other")
