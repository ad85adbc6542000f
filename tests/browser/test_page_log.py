"""The page fixture must notice what goes wrong, or no other browser test can fail."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.browser


def test_errors_and_requests_of_a_page_are_recorded(
    page, page_log, serve, tmp_path: Path, screenshot
) -> None:
    (tmp_path / "index.html").write_text(
        "<h1>Broken</h1><img src='missing.png'>"
        "<script>console.error('first'); throw new Error('second')</script>"
    )
    url = serve(tmp_path)
    page.goto(url)
    page.wait_for_load_state("networkidle")
    assert page.locator("h1").inner_text() == "Broken"
    assert {"first", "second"} <= set(page_log.errors)
    assert url + "missing.png" in page_log.requests
    assert screenshot("broken").stat().st_size > 1000


def test_a_sound_page_leaves_no_errors(page, page_log, serve, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<link rel=icon href='data:,'><h1>Fine</h1>")
    page.goto(serve(tmp_path))
    page.wait_for_load_state("networkidle")
    assert page_log.errors == []
    assert page_log.failed == []
