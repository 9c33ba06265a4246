"""The report in a real browser: it opens, sorts, fades, prints, asks nobody, and can be used without seeing it."""

from __future__ import annotations

import shutil

import pytest
from oracles.made_report import contents
from oracles.made_sweep import made_record

from medtea.report.page import page, seeds_page
from medtea.report.sections.section import read_sections

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def made():
    of = contents(one_class="south")
    return page(of.title, of.task, read_sections(of))


@pytest.fixture(scope="module")
def swept():
    values = {f"method_{i:02d}": (0.98, 0.9 - 0.02 * i, 0.8) for i in range(20)}
    return seeds_page(made_record({"teacher": (0.98, 0.97, 0.96), "erm": (0.99, 0.1, 0.4), **values}), "Sweep")


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    with api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_opens_the_page_without_an_error_a_request_or_a_sideways_scroll(
    browser, made, tmp_path, scheme, width
):
    (tmp_path / "report.html").write_text(made, encoding="utf-8")
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints, requests = [], []
    view.on("console", lambda message: complaints.append(message.text))
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.on("request", lambda request: requests.append(request.url))
    view.goto((tmp_path / "report.html").as_uri())
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]
    assert view.evaluate("document.documentElement.scrollWidth") == width
    assert view.locator("#headline tbody tr").count() == 4
    # Every picture was allowed by the policy and decoded: an SVG image that failed has no box of its own.
    view.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert view.evaluate("document.documentElement.scrollWidth") == width
    pictures = view.locator(".panels figure:visible image")
    boxes = pictures.evaluate_all("nodes => nodes.map(n => n.getBoundingClientRect().width)")
    assert len(boxes) > 30
    assert min(boxes) > 50
    assert len(view.screenshot()) > 20_000
    view.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_opens_a_sweep_and_what_is_wide_scrolls_in_its_own_box(browser, swept, tmp_path, scheme, width):
    (tmp_path / "table.html").write_text(swept, encoding="utf-8")
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints = []
    view.on("console", lambda message: complaints.append(message.text))
    view.goto((tmp_path / "table.html").as_uri())
    assert complaints == []
    assert view.evaluate("document.documentElement.scrollWidth") == width
    rows = view.locator(".rows")
    wide, shown = rows.evaluate("node => [node.scrollWidth, node.clientWidth]")
    assert (wide > shown) == (width == 390)
    # The names stay while the panels move past them, and stand at their rows.
    names, panels = view.locator(".rows svg").all()
    before = [names.bounding_box(), panels.bounding_box()]
    rows.evaluate("node => { node.scrollLeft = 200 }")
    after = [names.bounding_box(), panels.bounding_box()]
    assert after[0] == before[0]
    assert before[1]["x"] - after[1]["x"] == (200 if width == 390 else 0)
    assert after[0]["height"] == pytest.approx(after[1]["height"], abs=0.5)
    view.close()


@pytest.fixture
def view(browser, made, tmp_path):
    """The page, opened."""
    (tmp_path / "report.html").write_text(made, encoding="utf-8")
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.goto((tmp_path / "report.html").as_uri())
    yield opened
    opened.close()


def column(view, place):
    return view.locator(f"#headline tbody tr > :nth-child({place}) .value").all_inner_texts()


def test_a_table_is_sorted_up_and_down_and_what_has_no_answer_stays_last(view):
    head = view.locator("#headline thead th:nth-child(4)")
    assert head.get_attribute("aria-sort") is None
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(view, 4) == ["0.06", "0.61", "0.94", "0.95"]
    assert column(view, 1) == ["erm", "logit_distil", "tea", "teacher"], "whole rows move"
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert column(view, 4) == ["0.95", "0.94", "0.61", "0.06"]
    view.locator("#headline thead th:nth-child(1) button").click()
    assert column(view, 1) == ["erm", "logit_distil", "tea", "teacher"]
    assert head.get_attribute("aria-sort") is None
    operating = view.locator("#discrimination details")
    operating.locator("summary").click()
    operating.locator("thead th:nth-child(4) button").click()
    last = operating.locator("tbody tr:last-child td:nth-child(4) .value").inner_text()
    assert last == "no answer"


def test_the_slider_fades_from_the_radiograph_to_the_maps_by_keyboard(view):
    slider = view.locator("#explanations .slider input").first
    assert slider.get_attribute("aria-valuetext") == "radiograph"
    layers = "node => [...node.closest('figure').querySelectorAll('image')].map(one => Number(one.style.opacity))"
    assert slider.evaluate(layers) == [1, 0, 0, 0, 0]
    slider.focus()
    for _ in range(10):
        view.keyboard.press("ArrowRight")
    assert slider.evaluate(layers) == [1, pytest.approx(0.5), 0, 0, 0]
    for _ in range(10):
        view.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "teacher"
    assert slider.evaluate(layers) == [1, 1, 0, 0, 0]
    slider.press("End")
    assert slider.get_attribute("aria-valuetext") == "logit_distil"
    assert view.locator("#failures .slider").count() == 0, "different radiographs do not fade into each other"


def test_without_script_everything_is_there_and_nothing_is_a_dead_button(browser, made, tmp_path):
    (tmp_path / "report.html").write_text(made, encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto((tmp_path / "report.html").as_uri())
    assert plain.locator("button, input").count() == 0
    assert plain.locator("#explanations .panels").first.locator("figure:visible").count() == 5
    assert plain.locator("#headline tbody tr").count() == 4
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(view, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    view.emulate_media(color_scheme=scheme)
    view.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    found = axe.Axe().run(view).response
    assert len(found["passes"]) > 20, "it looked"
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in serious] == []


def test_the_numbers_of_a_figure_are_saved_from_the_page(view):
    with view.expect_download() as saved:
        view.locator("#discrimination a.files").first.click()
    assert saved.value.suggested_filename == "forest.csv"
    assert saved.value.path().read_text().startswith("group,role,method,auroc")


def test_details_open_by_keyboard_and_the_page_prints(view):
    summary = view.locator("#provenance summary")
    summary.focus()
    view.keyboard.press("Enter")
    assert view.locator("#provenance pre").is_visible()
    assert view.pdf(format="A4").startswith(b"%PDF")
    view.emulate_media(media="print")
    assert view.locator(".slider").first.is_hidden()
    assert view.locator("#explanations .panels").first.locator("figure:visible").count() == 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(browser, made, tmp_path, scheme):
    (tmp_path / "report.html").write_text(made, encoding="utf-8")
    view = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    view.goto((tmp_path / "report.html").as_uri())
    read = "name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()"
    colours = {name: view.evaluate(read, f"--{name}") for name in ("paper", "ink", "muted", "accent", "bad")}
    series = [view.evaluate(read, f"--series-{i}") for i in range(8)]
    view.close()
    # WCAG 2.2 AA: 4.5 for text; the plot's names are bold text of the series' colours.
    for colour in [colours[name] for name in ("ink", "muted", "accent", "bad")] + series:
        assert contrast(colour, colours["paper"]) >= 4.5


def contrast(first, second):
    """Contrast ratio of two hexadecimal colours (WCAG 2.2)."""
    levels = []
    for colour in (first, second):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        levels.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(levels) + 0.05) / (min(levels) + 0.05)
