"""Kedro-Viz over the test environment's artifacts, as a person sees it."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from bdpo_pipeline.pipeline_registry import register_pipelines

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
COMPATIBLE = {"package_name": "fsspec", "package_version": "1", "is_compatible": True}
NODES = ".pipeline-node--task .pipeline-node__text"
FOLDED = ".pipeline-node--modularPipeline"


@pytest.fixture(scope="module")
def site(chain, run_kedro, tmp_path_factory) -> Path:
    """The static site that `kedro viz build` makes of this project, with previews of what the chain wrote.

    The command takes no parameters, so the project is put together anew with another data_root.
    """
    project = tmp_path_factory.mktemp("viz")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, project)
    (project / "src").mkdir()
    (project / "src" / "bdpo_pipeline").symlink_to(ROOT / "src" / "bdpo_pipeline")
    shutil.copytree(ROOT / "conf", project / "conf")
    (project / "conf" / "test" / "globals.yml").write_text(f"data_root: {chain.data_root}\n")
    done = run_kedro("viz", "build", "--include-previews", cwd=project, KEDRO_ENV="test")
    assert "Failed to build" not in done.stdout, done.stdout
    assert (project / "build" / "index.html").is_file(), done.stdout
    return project / "build"


@pytest.fixture
def viz(page: Page, serve, site: Path) -> str:
    # The page asks for a web font, and for a file that a static build lacks; neither is ours to judge.
    page.route(
        "https://fonts.googleapis.com/**", lambda route: route.fulfill(content_type="text/css", body="")
    )
    facts = json.dumps({"has_missing_dependencies": False, "package_compatibilities": [COMPATIBLE]})
    page.route("**/api/metadata", lambda route: route.fulfill(content_type="application/json", body=facts))
    return serve(site)


def open_graph(page: Page, address: str) -> None:
    page.goto(address)
    page.locator(".pipeline-node").first.wait_for()
    page.add_style_tag(content=".feature-hints { display: none }")


def choose_pipeline(page: Page, name: str) -> None:
    """By the menu, as a person does: on a slow machine the page may put the last choice over the one in its address."""
    page.locator(".pipeline-list .dropdown__label").click()
    page.locator(f".pipeline-list .menu-option__content[title='{name}']").click()
    expect(page.locator(".pipeline-list .dropdown__label")).to_have_text(name)


def test_the_graph_shows_every_pipeline_with_all_its_nodes(viz, page, page_log, screenshot) -> None:
    registered = register_pipelines()
    open_graph(page, viz)
    shown = page.locator(".pipeline-list .menu-option__content").evaluate_all("all => all.map(e => e.title)")
    assert set(shown) == set(registered)
    for name, pipeline in registered.items():
        choose_pipeline(page, name)
        # What has a namespace is folded into one node of the namespace's name.
        names = {node.name for node in pipeline.nodes if not node.namespace}
        for one in names:
            expect(page.locator(NODES, has_text=re.compile(f"^{one}$"))).to_be_attached()
        expect(page.locator(NODES)).to_have_count(len(names))
        assert set(page.locator(NODES).all_text_contents()) == names
        spaces = {node.namespace.partition(".")[0] for node in pipeline.nodes if node.namespace}
        expect(page.locator(FOLDED)).to_have_count(len(spaces))
        assert set(page.locator(FOLDED).all_text_contents()) == spaces
        assert screenshot(name).stat().st_size > 10_000
    assert page_log.errors == []
    assert page_log.failed == []


def test_the_layers_of_the_catalog_are_shown(viz, page, page_log, chain, load_catalog) -> None:
    catalog = load_catalog(chain.data_root)
    names = register_pipelines()["__default__"].datasets()
    metadata = [getattr(catalog.get(name), "metadata", None) or {} for name in names if name in catalog]
    layers = {entry["kedro-viz"]["layer"] for entry in metadata if "layer" in entry.get("kedro-viz", {})}
    open_graph(page, viz)
    assert len(layers) >= 7
    assert set(page.locator(".pipeline-layer-name").all_text_contents()) == layers
    assert page_log.errors == []


def test_a_table_is_previewed(viz, page, page_log, chain, screenshot) -> None:
    [file] = (chain.data_root / "05_training" / "training_history.csv").glob("*/*.csv")
    history = pd.read_csv(file)
    open_graph(page, viz)
    page.get_by_text("training_history", exact=True).first.click()
    table = page.locator(".pipeline-metadata table").first
    table.wait_for()
    header = table.locator("th").all_inner_texts()
    assert [name for name in header if name in history.columns] == list(history.columns)
    assert table.locator("tr:has(td)").count() == min(len(history), 50)
    screenshot("history")
    assert page_log.errors == []


def test_a_plot_is_previewed(viz, page, page_log, screenshot) -> None:
    open_graph(page, viz)
    page.get_by_text("comprehension_by_side", exact=True).first.click()
    plot = page.locator(".pipeline-metadata .js-plotly-plot").first
    plot.wait_for()
    assert plot.locator(".trace").count() > 0
    screenshot("plot")
    assert page_log.errors == []
