"""The whole report in a browser, opened from a file, on light paper and on dark."""

from __future__ import annotations

import pytest
from synthetic import make_run

from twist.view.report import write_report

pytestmark = pytest.mark.browser


def test_the_report_draws_every_figure_without_network_or_error(tmp_path, open_page):
    path, said = write_report(make_run(tmp_path, name="first"), wait_for_map=False), []
    for scheme, background, paper in (
        ("light", "rgb(255, 255, 255)", "#ffffff"),
        ("dark", "rgb(21, 24, 29)", "#15181d"),
    ):
        page = open_page(color_scheme=scheme)
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri())
        page.wait_for_selector(".plot:nth-of-type(1) .main-svg")
        page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 4")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
        assert page.evaluate("document.querySelector('.plot').layout.template.layout.paper_bgcolor") == paper
    assert said == []
