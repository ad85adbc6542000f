"""The study's page in a real browser: drawn, self-contained, readable at two widths."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from bdpo_pipeline.reports.study_page import render_study

from ..study_tables import make_study

pytestmark = pytest.mark.browser

FACTS: dict[str, Any] = {
    "title": "A study",
    "baseline": "dpo",
    "made": "2026-11-22 10:00 UTC",
    "base_model": "SmolLM2-135M-Instruct",
    "provenance": {"git commit": "f" * 40},
    "parameters": {"study_report.resamples": "1000"},
}


@pytest.fixture(scope="module", params=["made up", "docs/results"])
def study_page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "docs/results":
        return Path(__file__).resolve().parents[2] / "docs" / "results" / "study_two_cores" / "study.html"
    path = tmp_path_factory.mktemp("study") / "study.html"
    path.write_text(render_study(make_study(np.random.default_rng(12)), FACTS), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1280, 400])
def test_it_is_drawn_from_one_file_and_fits(
    page: Page, page_log: Any, study_page: Path, width: int, screenshot: Callable[..., Path]
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(study_page.as_uri())
    page.wait_for_selector("html[data-plots=drawn]", timeout=60_000)
    plots = page.locator(".plot")
    figures = page.locator("script[data-figure]")
    assert plots.count() == figures.count() > 15
    undrawn = page.evaluate(
        "[...document.querySelectorAll('.plot')].filter(p => !p.querySelector('.plot-container .point')).map(p => p.id)"
    )
    assert undrawn == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Plotly draws with hidden overflow, so a plot wider than its place would be cut.
    too_wide = page.evaluate(
        "[...document.querySelectorAll('.plot .main-svg')].filter(s => s.getBoundingClientRect().right > innerWidth).length"
    )
    assert too_wide == 0
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('.verdict p')).fontSize)") >= 16
    assert page_log.errors == []
    assert page_log.requests == [study_page.as_uri()]
    assert screenshot(str(width), full_page=True).stat().st_size > 50_000
