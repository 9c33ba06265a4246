from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
from oracles.made_report import GROUPS, contents
from oracles.made_sweep import made_record
from oracles.page_reader import Reader

from medtea.report.contents import Contents
from medtea.report.page import page, seeds_page

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
EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def made():
    return page(contents(one_class="south"))


def test_every_section_is_there_and_every_link_of_the_page_leads_to_one(made):
    found = Reader(made)
    assert not found.unclosed
    assert not found.open
    ids = {value for name, value in found.attributes if name == "id"}
    links = {
        value[1:] for name, value in found.attributes if name == "href" and value.startswith("#") and "-" not in value
    }
    assert links <= ids
    assert {
        "headline",
        "findings",
        "discrimination",
        "gap",
        "explanations",
        "audit",
        "methods",
        "flow",
        "limits",
    } <= ids
    assert {"segmenter", "provenance"} <= ids


def test_no_id_stands_twice(made):
    ids = [value for name, value in Reader(made).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_the_page_says_what_it_is_not(made):
    words = " ".join(" ".join(Reader(made).words).split())
    assert "For research. No medical device." in words
    assert "patented and free for personal and scientific use; have commercial use checked" in words


def test_numbers_sentences_and_no_answer_are_on_the_page(made):
    words = " ".join(" ".join(Reader(made).words).split())
    for expected in (
        "0.06 0.01 to 0.09",
        "no answer",
        "erm lost 0.94",
        "touches the border: 1",
        "lateral view",
        "0123456789ab",
        "size: 64",
        "Does a letter outside the lungs change the score?",
        "largest Youden index",
    ):
        assert expected in words
    assert " nan" not in words.lower()


def test_nothing_is_asked_from_anywhere_and_no_script_is_there(made):
    found = Reader(made)
    assert "script" not in found.tags
    without_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "data:", made)
    assert not re.search(r"https?:|//\w|@import|url\((?!#)", without_pictures)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    sources = [value for name, value in found.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("#", "data:")) for value in sources)


def test_the_content_security_policy_allows_styles_and_data_pictures_alone(made):
    policy = re.search(r'Security-Policy" content="([^"]*)"', made)[1]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


def test_a_hospital_named_as_a_script_is_shown_as_text():
    groups = dict(zip([EVIL, 'x" onload="alert(1)', "{{ 7 * 7 }}"], GROUPS.values(), strict=True))
    odd = replace(
        contents(groups), title=EVIL, task=EVIL, settings=EVIL, notes=(EVIL,), provenance={EVIL: EVIL}, questions={}
    )
    text = page(odd)
    found = Reader(text)
    assert "script" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert EVIL in " ".join(found.words)
    assert "{{ 7 * 7 }}" in " ".join(found.words)


def test_a_page_without_audit_pictures_and_segmenter_leaves_their_sections_out():
    bare = Contents(title="bare", task="", metrics=contents().metrics)
    ids = {value for name, value in Reader(page(bare)).attributes if name == "id"}
    assert not {"audit", "explanations", "segmenter", "flow"} & ids
    assert {"headline", "limits"} <= ids


def test_the_page_is_the_same_every_time():
    assert page(contents()) == page(contents())


@pytest.fixture(scope="module")
def swept():
    values = {f"method_{i:02d}": (0.98, 0.9 - 0.02 * i, 0.8) for i in range(20)}
    return seeds_page(made_record({"teacher": (0.98, 0.97, 0.96), "erm": (0.99, 0.1, 0.4), **values}), "Sweep")


def test_the_page_of_a_sweep_begins_with_what_erm_does_and_the_figure(swept):
    found = Reader(swept)
    assert not found.unclosed
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    words = " ".join(" ".join(found.words).split())
    sentence = "The accuracy of erm falls from 98.87 % (iid) to 9.87 % (ood)"
    order = [words.index(one) for one in (sentence, "mean, 95 % interval", "The teacher stands first", "Made with")]
    assert order == sorted(order)
    assert "script" not in found.tags
    assert not re.search(r"https?:", swept)


def test_a_sweep_with_names_like_markup_is_shown_as_text():
    odd = made_record({"teacher": (0.9,), "erm": (0.8,), EVIL: (0.7,)}, {'x" onload="alert(1)': "ood"})
    found = Reader(seeds_page(odd, EVIL))
    assert "script" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]


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
    boxes = view.locator(".panels image").evaluate_all("nodes => nodes.map(n => n.getBoundingClientRect().width)")
    assert boxes
    assert min(boxes) > 50
    shot = view.screenshot(full_page=True)
    assert len(shot) > 50_000
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


def test_details_open_by_keyboard_and_the_page_prints(browser, made, tmp_path):
    (tmp_path / "report.html").write_text(made, encoding="utf-8")
    view = browser.new_page(viewport={"width": 1280, "height": 900})
    view.goto((tmp_path / "report.html").as_uri())
    summary = view.locator("#provenance summary")
    summary.focus()
    view.keyboard.press("Enter")
    assert view.locator("#provenance pre").is_visible()
    assert view.pdf(format="A4").startswith(b"%PDF")
    view.close()


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
