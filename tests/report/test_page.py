from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from oracles.made_report import GROUPS, contents
from oracles.made_sweep import made_record
from oracles.page_reader import Reader

from medtea import report
from medtea.report.contents import Contents
from medtea.report.page import page, seeds_page
from medtea.report.sections.section import read_sections

SCRIPT = Path(report.__file__).with_name("page.js")
EVIL = "<script>alert('x')</script>"


def shown(of):
    return page(of.title, of.task, read_sections(of))


@pytest.fixture(scope="module")
def made():
    return shown(contents(one_class="south"))


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


def test_what_is_void_is_said_once_for_each_reason(made):
    said = re.findall(r"[^>]+: void, since its maps are noise\.", made)
    assert [one.strip() for one in said] == ["logit_distil at north, west, east: void, since its maps are noise."]


def test_nothing_is_asked_from_anywhere_and_the_one_script_is_the_pages_own(made):
    found = Reader(made)
    assert found.tags.count("script") == 1
    assert "fetch" not in SCRIPT.read_text()
    without_pictures = re.sub(r"data:(image/webp|text/csv);base64,[A-Za-z0-9+/=]+", "data:", made)
    assert not re.search(r"https?:|//\w|@import|url\((?!#)", without_pictures)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    sources = [value for name, value in found.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("#", "data:")) for value in sources)


def test_the_content_security_policy_allows_styles_and_data_pictures_alone(made):
    policy = re.search(r'Security-Policy" content="([^"]*)"', made)[1]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.read_bytes()).digest()).decode()
    assert policy.startswith(
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:;"
    )
    assert f"<script>{SCRIPT.read_text()}</script>" in made


def test_a_hospital_named_as_a_script_is_shown_as_text():
    groups = dict(zip([EVIL, 'x" onload="alert(1)', "{{ 7 * 7 }}"], GROUPS.values(), strict=True))
    odd = replace(contents(groups), title=EVIL, task=EVIL, intended_use=EVIL, settings=EVIL, notes=(EVIL,))
    odd = replace(odd, provenance={EVIL: EVIL}, questions={})
    text = shown(odd)
    found = Reader(text)
    assert found.tags.count("script") == 1
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert EVIL in " ".join(found.words)
    assert "{{ 7 * 7 }}" in " ".join(found.words)


def test_a_page_without_audit_pictures_and_segmenter_leaves_their_sections_out():
    bare = Contents(title="bare", task="", metrics=contents().metrics)
    ids = {value for name, value in Reader(shown(bare)).attributes if name == "id"}
    assert not {"audit", "explanations", "segmenter", "flow"} & ids
    assert {"headline", "limits"} <= ids


def test_the_page_is_the_same_every_time():
    assert shown(contents()) == shown(contents())


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
    assert found.tags.count("script") == 1
    assert not re.search(r"https?:", swept)


def test_a_sweep_with_names_like_markup_is_shown_as_text():
    odd = made_record({"teacher": (0.9,), "erm": (0.8,), EVIL: (0.7,)}, {'x" onload="alert(1)': "ood"})
    found = Reader(seeds_page(odd, EVIL))
    assert found.tags.count("script") == 1
    assert not [name for name, _ in found.attributes if name.startswith("on")]
