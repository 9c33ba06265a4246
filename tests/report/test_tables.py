from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd
import pytest
from oracles.made_report import contents, metrics_json, outcomes_json, segmenter_json
from rich.console import Console

from medtea.core.errors import RecordError
from medtea.report.contents import Method, Metrics, read_metrics, read_outcomes, read_segmenter
from medtea.report.markdown import markdown_of
from medtea.report.sections.section import read_sections
from medtea.report.tables import (
    Cell,
    Column,
    Table,
    difference_table,
    flow_table,
    gap_table,
    listed,
    main_table,
    method_table,
    operating_table,
    outcome_table,
    refused_table,
    segmenter_table,
    to_markdown,
    to_terminal,
)


def metrics(**given):
    return read_metrics(metrics_json(**given))


def row(table, name):
    return [str(cell) for cell in next(cells for cells in table.rows if cells[0].text == name)]


def printed(table, width=120):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(to_terminal(table))
    return console.file.getvalue()


def test_the_main_table_has_every_method_group_interval_and_what_was_seen():
    table = main_table(metrics(), read_outcomes(outcomes_json()))
    assert [column.text for column in table.columns] == [
        "method",
        "north",
        "west",
        "east",
        "relevance outside the lungs",
        "saw",
    ]
    assert [column.tag for column in table.columns[1:4]] == ["IID", "IID", "OOD"]
    assert row(table, "erm") == [
        "erm",
        "1.00 (1.00 to 1.00)",
        "1.00 (1.00 to 1.00)",
        "0.06 (0.01 to 0.09)",
        "0.83 (0.80 to 0.85)",
        "radiograph, label",
    ]


def test_relevance_stands_beside_the_area_share_of_the_hospital_not_seen():
    table = main_table(metrics(), read_outcomes(outcomes_json()))
    assert table.columns[4].note == "at east; area share 0.68"


def test_seen_hospitals_come_before_unseen_ones_whatever_the_order_of_the_scores():
    written = metrics_json()
    written["scores"].reverse()
    assert list(read_metrics(written).groups) == ["west", "north", "east"]


def test_an_auroc_wholly_below_one_half_is_marked_and_others_are_not():
    marked = {cells[0].text: [cell.bad for cell in cells[1:4]] for cells in main_table(metrics()).rows}
    assert marked["erm"] == [False, False, True]
    assert not any(marked["logit_distil"])


def test_no_answer_is_said_in_words_and_never_a_number():
    table = main_table(metrics(one_class="south"))
    place = [column.text for column in table.columns].index("south")
    assert {cells[place].text for cells in table.rows} == {"no answer"}
    assert table.columns[place].note == "n 30, 0 positive"
    assert "nan" not in to_markdown(table).lower()


def test_what_was_not_computed_is_told_apart_from_what_has_no_answer():
    cells = next(row for row in operating_table(metrics(one_class="south")).rows if row[1].text == "south")
    assert [str(cell) for cell in cells[3:]] == ["no answer", "0.00", "not computed", "no answer", "not computed"]


def test_a_bare_number_for_a_rate_is_shown_without_an_interval():
    written = metrics_json()
    written["scores"][0]["accuracy"] = 0.75
    assert str(operating_table(read_metrics(written)).rows[0][5]) == "0.75 (no interval)"


def test_gaps_and_differences_have_a_sign():
    assert row(gap_table(metrics()), "erm")[4:] == ["+0.94 (+0.89 to +0.99)", "no answer", "no answer"]
    assert row(difference_table(metrics()), "tea") == [
        "tea",
        "east (OOD)",
        "240",
        "+0.88 (+0.83 to +0.93)",
        "< 0.001",
        "0.012",
    ]


def test_outcomes_are_one_row_per_method_with_reference_and_control():
    table = outcome_table("planted_mark", read_outcomes(outcomes_json()))
    assert table.columns[1] == Column("north", note="n 120; reference 0.00", numeric=True)
    assert row(table, "erm")[1] == "0.41 (0.39 to 0.43; control 0.02)"
    assert len(table.rows) == 4


def test_flow_refused_and_segmenter_tables_show_the_counts():
    made = contents()
    assert row(flow_table(made.flow), "east") == ["east", "210", "200", "10", "200", "160"]
    assert row(refused_table(made.refused), "no pixels") == ["no pixels", "1", "1", "1"]
    assert refused_table(pd.DataFrame()).rows == ()
    segmenter = segmenter_table(read_segmenter(segmenter_json()))
    assert row(segmenter, "north")[2:5] == ["40", "0.95 (0.92 to 0.97)", "0.97 (0.94 to 0.99)"]
    assert row(segmenter, "north")[7:9] == ["0", "0"]
    assert row(segmenter, "east")[2:5] == ["0", "no answer", "no answer"]


def test_a_method_that_states_nothing_says_so():
    stranger = Method("x", (), "", None, None, "")
    assert row(method_table(Metrics((stranger,), ())), "x")[1:] == ["not stated"] * 6


def test_the_terminal_table_of_three_hospitals_fits_120_columns_and_shows_names_as_they_are():
    table = main_table(metrics(), read_outcomes(outcomes_json()))
    text = printed(table)
    assert max(map(len, text.splitlines())) <= 120
    for words in ("0.06", "0.01 to 0.09", "IID", "OOD", "relevance"):
        assert words in text
    odd = replace(table, rows=((Cell("[red]\x1b[31mname"), *table.rows[0][1:]),))
    assert "[red]" in printed(odd, width=200)
    assert "\x1b" not in printed(odd, width=200)


def test_markdown_cells_cannot_break_the_table_or_open_a_tag():
    table = Table("", (Column("a"), Column("b", tag="OOD", note="n 3", numeric=True)), ((Cell("x|y\n<b>"), Cell("1")),))
    head, rule, line = to_markdown(table).splitlines()
    assert head == r"| a | b \[OOD\] (n 3) |"
    assert rule == "| --- | ---: |"
    assert line == r"| x\|y &lt;b> | 1 |"


def test_the_markdown_text_holds_every_result():
    text = markdown_of("Title", "", read_sections(contents(one_class="south")))
    for words in ("0.06 (0.01 to 0.09)", "no answer", "+0.94 (+0.89 to +0.99)", "303,201"):
        assert words in text


@pytest.mark.parametrize(
    ("names", "words"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_listed_as_in_a_sentence(names, words):
    assert listed(names) == words


def test_a_missing_field_names_the_file_and_the_mend():
    with pytest.raises(RecordError, match=r"evaluate/metrics.json has no field 'scores'.*start the run again"):
        read_metrics({"methods": {}})
    with pytest.raises(RecordError, match=r"audit/outcomes.json has no field 'outcomes'"):
        read_outcomes({})
    with pytest.raises(RecordError, match=r"segment/metrics.json has no field 'hospitals'"):
        read_segmenter({})
