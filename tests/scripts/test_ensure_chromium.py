import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "ensure_chromium.sh"
TOOLS = ("bash", "env", "dirname", "id", "mktemp", "tail", "cat", "rm", "chmod")


class Machine:
    """A machine with a shell and little else: no browser, no package manager, no network."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)
        self.script = root / "project" / "scripts" / SCRIPT.name
        self.script.parent.mkdir(parents=True)
        shutil.copy(SCRIPT, self.script)
        self.home = root

    def has(self, program: str, body: str = "") -> None:
        path = self.bin / program
        path.write_text(f"#!{self.bin}/bash\n{body}\n")
        path.chmod(0o755)

    def ensure(self, **environment: str) -> subprocess.CompletedProcess[str]:
        fixed = {"PATH": str(self.bin), "HOME": str(self.home)}
        return subprocess.run(
            [str(self.script)], env=fixed | environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("browser", ["chromium", "google-chrome"])
def test_an_installed_browser_is_left_alone_and_nothing_is_said(machine: Machine, browser: str) -> None:
    machine.has(browser)
    machine.has("apt-get", "echo called >&2; exit 1")
    done = machine.ensure(CI="true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(os.getuid() != 0, reason="installs as root only")
def test_the_system_package_is_installed_once(machine: Machine) -> None:
    install = f'[ "$1" = install ] || exit 0; : > {machine.bin}/chromium; chmod +x {machine.bin}/chromium'
    machine.has("apt-get", install)
    first, second = machine.ensure(), machine.ensure()
    assert (first.returncode, second.returncode) == (0, 0)
    assert "installing one" in first.stderr
    assert second.stderr == ""


def test_without_any_way_to_install_it_says_what_to_do(machine: Machine) -> None:
    done = machine.ensure()
    assert done.returncode == 0
    assert "apt-get install chromium" in done.stderr
    assert "playwright install chromium" in done.stderr


def test_that_is_a_failure_in_continuous_integration(machine: Machine) -> None:
    assert machine.ensure(CI="true").returncode == 1
