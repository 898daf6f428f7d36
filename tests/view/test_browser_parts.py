"""The JavaScript and CSS of the widgets: short, plain, without a reach outside the page."""

from importlib import resources

import pytest

PARTS = sorted(
    (part for part in resources.files("twist.view.browser").iterdir() if part.name.endswith((".js", ".css"))),
    key=lambda part: part.name,
)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_part_is_plain_and_of_moderate_length(part):
    lines = part.read_text("utf-8").splitlines()
    assert len(lines) < 600
    assert max(map(len, lines)) <= 120, [number for number, line in enumerate(lines, 1) if len(line) > 120]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_part_names_no_host_and_writes_no_markup(part):
    text = part.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    for word in ("http:", "https:", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "import("):
        assert word not in text
