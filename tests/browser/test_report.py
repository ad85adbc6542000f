"""The report page in a real browser: drawn, self-contained, readable at two widths and in the dark, and safe."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from bdpo_pipeline.pipelines.reporting.nodes import gather_artifacts
from bdpo_pipeline.pipelines.reporting.pipeline import create_pipeline
from bdpo_pipeline.reports.page import render_report

pytestmark = pytest.mark.browser

ATTACK = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def report(chain: Any) -> Path:
    (path,) = chain.data_root.glob("08_reporting/report.html/*/report.html")
    return path


def open_page(page: Page, path: Path, width: int, scheme: str = "light") -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-plots=drawn]", timeout=60_000)


def test_it_is_drawn_from_one_file(
    page: Page, page_log: Any, report: Path, screenshot: Callable[..., Path]
) -> None:
    open_page(page, report, 1280)
    plots = page.locator(".plot")
    assert plots.count() == 16
    assert page.locator(".plot .main-svg").count() >= 16
    for index in range(plots.count()):
        marks = plots.nth(index).locator(".plot-container path, .plot-container rect")
        assert marks.count() > 0
    assert page_log.errors == []
    assert page_log.requests == [report.as_uri()]
    assert screenshot("1280", full_page=True).stat().st_size > 50_000


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_sticks_out(page: Page, report: Path, width: int, screenshot: Callable[..., Path]) -> None:
    open_page(page, report, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Plotly draws with hidden overflow, so a plot wider than its place would be cut.
    too_wide = page.evaluate(
        "[...document.querySelectorAll('.plot .main-svg')].filter(s => s.getBoundingClientRect().right > innerWidth).length"
    )
    assert too_wide == 0
    size = page.evaluate("parseFloat(getComputedStyle(document.querySelector('.verdict p')).fontSize)")
    assert size >= 16
    assert screenshot(f"{width}", full_page=True).exists()


def test_it_follows_light_and_dark(page: Page, report: Path, screenshot: Callable[..., Path]) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        open_page(page, report, 1280, scheme)
        colours[scheme] = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"
            " getComputedStyle(document.querySelector('.plot text')).fill]"
        )
        assert screenshot(scheme).exists()
    for light, dark in zip(colours["light"], colours["dark"], strict=True):
        assert light != dark


def test_samples_open_on_demand_only(page: Page, report: Path) -> None:
    open_page(page, report, 1280)
    sample = page.locator(".sample").first
    assert not sample.is_visible()
    page.locator("details.warning > summary").click()
    assert sample.is_visible()


def test_an_answer_cannot_run_code(page: Page, chain: Any, load_catalog: Any, tmp_path: Path) -> None:
    catalog = load_catalog(chain.data_root)
    gather = create_pipeline().filter(node_names=["gather_artifacts"]).nodes[0]
    parameters = {"seed": 1, "comprehension": {"normalise": "token"}}
    inputs = [parameters if name == "parameters" else catalog.load(name) for name in gather.inputs]
    run = gather_artifacts(*inputs)
    metrics = run.heldout_metrics.copy()
    metrics.loc[0, "slice"] = f"category: {ATTACK}"
    hostile = replace(
        run, generations=run.generations.assign(prompt=ATTACK, response=ATTACK), heldout_metrics=metrics
    )
    path = tmp_path / "hostile.html"
    path.write_text(render_report(hostile, "Hostile", 2, 7), encoding="utf-8")
    open_page(page, path, 1280)
    page.locator("details.warning > summary").click()
    assert ATTACK in page.locator(".sample .prompt").first.inner_text()
    assert page.title() == "Hostile"
    assert page.locator("img").count() == 0
