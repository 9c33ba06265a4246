from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from oracles.made_report import GROUPS, contents, metrics_json, pictures_npz
from PIL import Image

from medtea.report.contents import Picture, read_metrics, read_pictures
from medtea.report.drawing import inline
from medtea.report.figures import forest_plot, montage, montage_svg, overlay, slope_plot

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"


def metrics(**given):
    return read_metrics(metrics_json(**given))


def texts(svg):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("plot", [forest_plot, slope_plot])
def test_a_plot_is_svg_with_a_title_and_its_numbers_in_words(plot):
    tree = ElementTree.fromstring(plot(metrics()))
    assert tree.get("role") == "img"
    named = {node.get("id"): node.text for node in tree}
    assert "AUROC" in named[tree.get("aria-labelledby")]
    assert "erm at east (OOD): 0.06 (0.01 to 0.09)" in named[tree.get("aria-describedby")]


@pytest.mark.parametrize("plot", [forest_plot, slope_plot])
def test_a_plot_is_the_same_every_time(plot):
    assert plot(metrics()) == plot(metrics())


@pytest.mark.parametrize("plot", [forest_plot, slope_plot])
def test_no_id_stands_twice_and_every_reference_has_its_target(plot):
    tree = ElementTree.fromstring(plot(metrics()))
    ids = [node.get("id") for node in tree.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    used = {node.get(f"{XLINK}href")[1:] for node in tree.iter() if node.get(f"{XLINK}href")}
    assert used
    assert used <= set(ids)


def test_the_forest_prints_every_interval_and_says_where_there_is_no_answer():
    shown = texts(forest_plot(metrics(one_class="south")))
    assert "0.06 (0.01 to 0.09)" in shown
    assert shown.count("no answer") == 4
    assert [shown.count(word) for word in ("IID", "OOD")] == [2, 2]


def test_the_slope_plot_names_each_line_once_and_says_where_there_is_no_answer():
    shown = texts(slope_plot(metrics(one_class="south")))
    assert [shown.count(method) for method in ("teacher", "tea", "erm", "logit_distil")] == [1, 1, 1, 1]
    assert "no answer" in shown


def test_colours_are_variables_with_a_fallback_so_that_the_page_can_set_them():
    svg = forest_plot(metrics())
    assert "var(--ink, #1b2430)" in svg
    assert "var(--series-0," in svg
    assert "#fe0" not in svg


def test_names_with_markup_and_mathematics_are_shown_as_text():
    odd = dict(zip(["<script>alert(1)</script>", "$x^2$ & co", 'a"b'], GROUPS.values(), strict=True))
    for plot in (forest_plot, slope_plot):
        svg = plot(metrics(groups=odd))
        assert "<script" not in svg
        assert "<script>alert(1)</script>" in " ".join(texts(svg)).replace(" IID", "")
        assert "$x^2$ & co" in " ".join(texts(svg))


def test_inside_a_page_the_svg_declares_no_namespace():
    assert "http" not in inline(forest_plot(metrics()))


def test_no_relevance_leaves_the_radiograph_and_signs_have_their_colours():
    image = np.full((2, 2), 0.5)
    heatmap = np.array([[0.0, 1.0], [-1.0, 0.25]])
    drawn = overlay(image, heatmap, 1.0)
    # 0.75: the radiograph is dimmed behind a heatmap.
    np.testing.assert_allclose(drawn[0, 0], 0.375)
    assert drawn[0, 1, 0] > drawn[0, 1, 2]
    assert drawn[1, 0, 2] > drawn[1, 0, 0]
    assert 0 <= drawn.min() <= drawn.max() <= 1


def test_more_relevance_is_never_fainter():
    strengths = np.linspace(0, 2, 50)[None]
    drawn = overlay(np.full((1, 50), 0.5), strengths, 1.0)
    assert (np.diff(drawn[0, :, 0]) >= -1e-12).all()


def test_a_montage_row_shows_the_radiograph_and_each_map_with_its_scale_and_share_outside():
    rows = montage(read_pictures(pictures_npz()))
    assert len(rows) == 6
    first = rows[0]
    assert first.title == "north, positive, typical r0030"
    assert [panel.title for panel in first.panels] == ["radiograph", "teacher", "tea", "erm", "logit_distil"]
    # The made teacher's map is zero outside the lungs.
    assert first.panels[1].note.startswith("0% outside the lungs; full colour at ±0.001")
    assert "Heatmap of erm, north, positive" in first.panels[3].alt


def test_a_panels_picture_has_the_radiographs_size_and_its_outline_goes_round_the_lung():
    picture = read_pictures(pictures_npz())[0]
    panel = montage([picture])[0].panels[0]
    image = Image.open(io.BytesIO(base64.b64decode(panel.uri.removeprefix("data:image/webp;base64,"))))
    assert image.size == (64, 64) == (panel.width, panel.height)
    assert panel.outline.count("M") == 2


def test_the_outline_of_a_square_passes_half_way_to_its_neighbours():
    mask = np.zeros((6, 6))
    mask[2:4, 2:4] = 1
    outline = montage([Picture("a", "positive", np.zeros((6, 6)), {}, mask)])[0].panels[0].outline
    numbers = [float(number) for number in outline.replace("M", " ").replace("L", " ").replace("Z", "").split()]
    # Pixels 2 and 3 cover the square from 2 to 4 in the picture's own coordinates.
    assert (min(numbers), max(numbers)) == (2, 4)


def test_a_map_of_zeros_and_a_picture_without_a_mask_are_shown_and_said():
    picture = Picture("a", "negative", np.zeros((4, 4)), {"dead": np.zeros((4, 4))})
    radiograph, dead = montage([picture])[0].panels
    assert dead.note == "zero everywhere"
    assert radiograph.outline == ""


def test_the_montage_as_a_file_is_svg_with_its_pictures_inside():
    tree = ElementTree.fromstring(montage_svg(contents().pictures[:2]))
    images = list(tree.iter(f"{SVG}image"))
    assert len(images) == 10
    assert all(node.get("href").startswith("data:image/webp") for node in images)
    assert ElementTree.fromstring(montage_svg(())) is not None
