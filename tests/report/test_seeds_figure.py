"""The figure of a sweep: every mean, seed and interval stands where its value says, and a gap is told in words."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from oracles.made_sweep import HALF_WIDTH, VALUES, cell_of, made_record

from medtea.report.seeds_figure import order_of, ranked, seeds_plot

SVG = "{http://www.w3.org/2000/svg}"
SEED = "fill-opacity: 0.7"  # the small dots alone are see-through
PANEL_POINTS = 2.15 * 72  # from one panel to the next


def texts(svg):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def marks(svg, colour, panel=None):
    """(x, y, is a seed's) of the marks of a colour, in points; x within its panel, as all panels share one axis."""
    found = []
    for node in ElementTree.fromstring(svg).iter(f"{SVG}use"):
        if f"stroke: var(--{colour}," in node.get("style", ""):
            place, x = divmod(float(node.get("x")), PANEL_POINTS)
            if panel in (None, place):
                found.append((x, float(node.get("y")), SEED in node.get("style")))
    return found


def panels(record):
    return seeds_plot(record, names=False)


def names(record):
    return [method["method"] for method in ranked(record)]


@pytest.mark.parametrize("headline", ["accuracy", "auroc"])
def test_every_mean_and_every_seed_stands_at_its_value_on_one_axis(headline):
    record = made_record(headline=headline)
    svg = panels(record)
    values, across = [], []
    for place, group in enumerate(("iid", "ood", "shift")):
        for method, colour in (("teacher", "ink"), ("erm", "series-1")):
            cell = cell_of(record, method, group)
            found = marks(svg, colour, place)
            assert [is_seed for *_, is_seed in found] == [True, True, True, False]
            values += [*cell["by_seed"], cell["value"]]
            across += [x for x, *_ in found]
    slope, offset = np.polyfit(values, across, 1)
    assert slope > 0
    # 1e-3 points: matplotlib writes six decimals
    np.testing.assert_allclose(across, slope * np.array(values) + offset, atol=1e-3)


def test_intervals_are_as_long_as_they_are_wide():
    record = made_record()
    svg = panels(record)
    lines = re.findall(r'd="M ([\d.]+) ([\d.]+) \nL ([\d.]+) \2 \n"[^>]*stroke: var\(--series-1[^>]*width: 1.8', svg)
    assert len(lines) == 3
    (left, _, is_seed), (right, *_) = (marks(svg, "series-1", place)[3] for place in (1, 0))
    assert not is_seed
    point = (right - left) / (cell_of(record, "erm", "iid")["value"] - cell_of(record, "erm", "ood")["value"])
    for begin, _, end in lines:
        assert float(end) - float(begin) == pytest.approx(2 * HALF_WIDTH * point, abs=1e-3)


def test_the_teacher_comes_first_and_the_others_by_their_worst_ood_mean_with_gaps_last():
    values = {
        "irm": (0.9, 0.99, None),
        "erm": (0.99, 0.05, 0.9),
        "tea": (0.9, 0.9, 0.3),
        "teacher": (0.9, 0.1, 0.1),
        "rrr": (0.1, 0.4, 0.4),
    }
    assert names(made_record(values)) == ["teacher", "rrr", "tea", "erm", "irm"]


def test_an_ood_group_that_nobody_has_an_answer_for_does_not_sort():
    record = made_record({"teacher": (1, 1, None), "erm": (1, 0.2, None), "tea": (1, 0.9, None)})
    assert names(record) == ["teacher", "tea", "erm"]


def test_without_an_ood_group_the_records_order_stays_and_the_page_says_so():
    record = made_record(roles=dict.fromkeys(("iid", "ood", "shift"), "iid"))
    assert names(record) == list(VALUES)
    assert "order of the settings" in order_of(record)
    assert "OOD group where it is lowest" in order_of(made_record())


@pytest.mark.parametrize(("headline", "number"), [("accuracy", "4.87"), ("auroc", "0.049")])
def test_means_are_printed_as_in_the_table_and_a_gap_says_so(headline, number):
    shown = texts(seeds_plot(made_record(headline=headline)))
    assert number in shown
    assert shown.count("no answer") == 1
    assert [shown.count(word) for word in ("IID", "OOD", "iid", "shift")] == [1, 2, 1, 1]
    assert {"teacher (debiased", "erm", "tea", "irm", "each seed"} <= set(shown)


def test_nothing_at_all_to_show_is_drawn_all_the_same():
    shown = texts(seeds_plot(made_record(dict.fromkeys(("teacher", "erm"), (None, None, None)))))
    assert shown.count("no answer") == 6


def test_a_method_without_a_cell_has_no_answer():
    record = made_record()
    record["cells"].remove(cell_of(record, "irm", "shift"))
    assert texts(seeds_plot(record)).count("no answer") == 1


def test_a_mean_of_fewer_seeds_is_hollow_and_explained():
    record = made_record()
    assert "seeds missing" not in texts(seeds_plot(record))
    cell_of(record, "erm", "ood")["by_seed"][1] = None
    svg = seeds_plot(record)
    assert "seeds missing" in texts(svg)
    hollow = [use for use in re.findall(r"<use[^>]*>", svg) if "fill: var(--paper" in use and "--series-1" in use]
    assert len(hollow) == 1
    assert len(marks(svg, "series-1")) == 3 * 4 - 1


def test_a_mean_without_an_interval_is_drawn_without_one():
    record = made_record()
    for group in ("iid", "ood", "shift"):
        cell_of(record, "erm", group)["patients"] |= {"low": None, "high": None}
    svg = panels(record)
    assert not re.search(r"stroke: var\(--series-1[^>]*stroke-width: 1.8", svg)
    assert len(marks(svg, "series-1")) == 12


def test_chance_is_marked_for_auroc_where_the_axis_reaches_it():
    assert "chance" in texts(seeds_plot(made_record(headline="auroc")))
    assert "chance" not in texts(seeds_plot(made_record()))
    high = {"teacher": (0.9, 0.8, 0.8), "erm": (0.9, 0.7, 0.7)}
    assert "chance" not in texts(seeds_plot(made_record(high, headline="auroc")))


def test_a_screen_reader_reaches_every_number():
    tree = ElementTree.fromstring(seeds_plot(made_record()))
    named = {node.get("id"): node.text for node in tree}
    assert named[tree.get("aria-labelledby")] == "Accuracy, %: mean of 3 seeds, per method and test group"
    told = named[tree.get("aria-describedby")]
    assert "erm at ood (OOD): 4.87 (3.87 to 5.87), by seed 5.00, 5.40, 4.20" in told
    assert "irm at shift (OOD): no answer" in told


def test_names_and_panels_apart_are_the_figure_and_share_no_id():
    record = made_record()
    apart = [seeds_plot(record, panels=False), panels(record)]
    assert sorted(texts(apart[0]) + texts(apart[1])) == sorted(texts(seeds_plot(record)))
    ids = [set(re.findall(r' id="([^"]*)"', svg)) for svg in apart]
    assert not ids[0] & ids[1]
    heights = {re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[1] for svg in apart}
    assert len(heights) == 1


def test_the_figure_is_the_same_every_time_and_its_colours_are_variables():
    svg = seeds_plot(made_record())
    assert svg == seeds_plot(made_record())
    assert "var(--series-1, #c44e00)" in svg
    assert "#fe0" not in svg


def test_names_with_markup_are_shown_as_text():
    evil = "<script>alert(1)</script>"
    svg = seeds_plot(made_record({"teacher": (1,), evil: (1,)}, {"$x^2$ & co": "ood"}))
    assert "<script" not in svg
    assert "<script>alert(1)</scri" in " ".join(texts(svg))
    assert "$x^2$ & co" in texts(svg)


def test_thirty_methods_and_four_groups_stand_apart_on_a_page():
    values = {f"method_{i:02d}_of_thirty": (0.9, 0.5, 0.4, 0.3) for i in range(29)}
    roles = {"iid": "iid", "absent": "ood", "random": "ood", "a group with a long name, turned round": "ood"}
    record = made_record({"teacher": (0.9, 0.9, 0.9, 0.9), **values}, roles)
    width = float(re.search(r'style="width: (\d+)px', seeds_plot(record))[1])
    assert width <= 1008  # 66 rem less the margins: nothing to scroll on a desk
    heights = sorted({y for _, y, is_seed in marks(panels(record), "series-0", 0) if not is_seed})
    assert len(heights) == 29
    # A row is taller than its words: two lines of 7.4 points at 0.95, one of 9.
    assert min(np.diff(heights)) > 2 * 7.4 * 0.95
