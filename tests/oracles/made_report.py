"""A run's numbers, made by code, in the form in which the stages write them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from oracles.made_scores import numbers_of_scores

from medtea.core.work import write_array
from medtea.data.acquisition import write_acquisition
from medtea.data.index import write_index
from medtea.metrics.estimates import Estimate
from medtea.report.contents import (
    Contents,
    read_metrics,
    read_outcomes,
    read_pictures,
    read_questions,
    read_segmenter,
)
from medtea.report.failures import find_failures

METHODS = ("teacher", "tea", "erm", "logit_distil")
GROUPS = {"north": "iid", "west": "iid", "east": "ood"}
VALUES = {
    "teacher": (0.97, 0.96, 0.95),
    "tea": (0.96, 0.97, 0.94),
    "erm": (1.0, 1.0, 0.06),
    "logit_distil": (0.98, 0.97, 0.61),
}


def estimate(value, width=0.05, n=120, positive=60, top=1.0):
    """An estimate as JSON, its interval cut off at `top`."""
    made = Estimate(
        value, max(value - width, 0 if top == 1 else -1), min(value + 0.6 * width, top), n, n - 20, positive, 0
    )
    return made.to_json()


def no_answer(n=30, positive=0):
    """An estimate of one class only, as JSON."""
    return Estimate(np.nan, np.nan, np.nan, n, n, positive, 0).to_json()


def difference(value, width=0.05):
    """A difference as JSON."""
    return Estimate(value, value - width, value + width, 240, 200, 120, 0).to_json()


def metrics_json(groups=None, one_class=None):
    """What evaluate writes; `one_class` names a further group in which nothing can be ranked."""
    groups = groups or GROUPS
    scores = []
    for method in METHODS:
        for (group, role), value in zip(groups.items(), VALUES[method], strict=True):
            scores.append(
                {
                    "method": method,
                    "group": group,
                    "role": role,
                    "auroc": estimate(value, 0 if value == 1 else 0.05),
                    "average_precision": estimate(0.9 * value),
                    "accuracy": estimate(0.8 * value),
                    "sensitivity": estimate(0.8 * value),
                    "specificity": estimate(0.7 * value),
                    "prevalence": 0.5,
                    "threshold": 0.41,
                }
            )
        if one_class:
            empty = no_answer()
            rates = dict.fromkeys(("auroc", "average_precision", "sensitivity"), empty)
            scores.append({"method": method, "group": one_class, "role": "ood", "prevalence": 0.0, **rates})
    seen = [group for group, role in groups.items() if role == "iid"]
    unseen = [group for group, role in groups.items() if role == "ood"]
    gaps = [
        {"method": m, "iid": seen, "ood": unseen, "difference": difference(sum(VALUES[m][:2]) / 2 - VALUES[m][2])}
        for m in METHODS
    ]
    differences = [
        {
            "method": m,
            "group": group,
            "difference": difference(VALUES[m][2] - VALUES["erm"][2]),
            "p": 4e-4,
            "p_holm": 0.012,
        }
        for m in METHODS
        if m != "erm"
        for group in unseen
    ]
    sees = {
        "teacher": ["radiograph", "lung_mask", "label"],
        "tea": ["radiograph", "teacher_heatmap", "teacher_head"],
        "erm": ["radiograph", "label"],
        "logit_distil": ["radiograph", "teacher_logit"],
    }
    return {
        "methods": {
            m: {
                "sees": sees[m],
                "sees_at_inference": ["radiograph"] + ["lung_mask"] * (m == "teacher"),
                "network": "small_resnet",
                "parameters": 303_201,
                "seconds": 41.0,
                "selection": "last epoch",
            }
            for m in METHODS
        },
        "scores": scores,
        "gaps": gaps,
        "differences_to_erm": differences,
        "differences_between_hospitals": [
            {"method": "erm", "groups": list(groups)[:2], "difference": difference(0.1), "p": 0.02, "p_holm": None}
        ],
        "left_out": [{"group": list(groups)[-1], "n": 3, "reason": "implausible lung mask"}],
        "interval": "95 %, percentile bootstrap of patients, 2000 draws",
        "operating_point": "largest Youden index on IID validation radiographs, carried over",
        **numbers_of_scores(METHODS, tuple(groups.items()), one_class),
    }


def outcomes_json(groups=None):
    """What audit writes."""
    groups = groups or GROUPS
    outcomes = []
    for method in METHODS:
        for group in groups:
            share = {"teacher": 0.0, "tea": 0.52, "erm": 0.83, "logit_distil": 0.6}[method]
            outcomes.append(
                {
                    "probe": "background_relevance",
                    "method": method,
                    "group": group,
                    "estimate": estimate(share, 0.03, positive=None),
                    "reference": 0.68,
                    "control": None,
                    "sentence": f"{share:.0%} of {method}'s relevance lies outside the lungs at {group}.",
                    "void_when": "The lung masks are wrong.",
                    "verdict": "fail" if share > 0.68 else "pass",
                    "void": "its maps are noise" if method == "logit_distil" else "",
                    "details": {"largest relevance lies outside": estimate(share / 3, 0.03, positive=None)},
                }
            )
            outcomes.append(
                {
                    "probe": "planted_mark",
                    "method": method,
                    "group": group,
                    "estimate": estimate(share / 2, 0.03, positive=None),
                    "reference": 0.0,
                    "control": estimate(0.02, 0.01, positive=None),
                    "sentence": f"A letter changes {method}'s score at {group} by {share / 2:.2f} on average.",
                    "void_when": "The marks already stand there.",
                }
            )
    questions = {
        "background_relevance": "How much relevance lies outside the lungs?",
        "planted_mark": "Does a letter outside the lungs change the score?",
    }
    return {
        "outcomes": outcomes,
        "questions": questions,
        "verdicts": {method: "fail" if method == "erm" else "pass" for method in METHODS},
        "policy": {"background_relevance": 1.0},
        "skipped": [
            {"probe": "score_site", "method": "tea", "group": "all hospitals", "reason": "It needs two hospitals."}
        ],
    }


def segmenter_json(groups=None):
    """What segment writes."""
    rows = [
        {
            "hospital": group,
            "radiographs": 200,
            "implausible": 3 * place,
            "reasons": {"too small": 2, "touches the border": 1} if place else {},
            "measured": 40 if role == "iid" else 0,
            "dice": 0.95 if role == "iid" else None,
            "surface_distance_px": 0.8 if role == "iid" else None,
            "empty": place,
            "estimates": {
                name: estimate(value, 0.03, n=40, positive=None) if role == "iid" else no_answer(0, None)
                for name, value in (
                    ("dice", 0.95),
                    ("surface_dice", 0.97),
                    ("surface_distance_px", 0.8),
                    ("hausdorff95_px", 0.99),
                )
            },
        }
        for place, (group, role) in enumerate((groups or GROUPS).items())
    ]
    return {"hospitals": rows}


def pictures_npz(groups=None, size=64):
    """What audit leaves for the montage: two discs for lungs, and a letter's place outside them."""
    generator = np.random.default_rng(3)
    y, x = np.mgrid[:size, :size] / size
    lungs = ((x - 0.3) / 0.16) ** 2 + ((y - 0.5) / 0.32) ** 2 < 1
    lungs |= ((x - 0.7) / 0.16) ** 2 + ((y - 0.5) / 0.32) ** 2 < 1
    arrays = {}
    for place, group in enumerate(groups or GROUPS):
        images = 0.75 - 0.5 * lungs + 0.04 * generator.normal(size=(2, size, size))
        images[:, 4:12, 4:8] = 1
        arrays |= {f"{place}/name": np.array(group), f"{place}/radiograph": images.astype(np.float32)}
        arrays |= {f"{place}/lung_mask": np.stack([lungs] * 2).astype(np.uint8), f"{place}/label": np.array([1, 0])}
        for method in METHODS:
            maps = 1e-3 * generator.normal(size=(2, size, size)) * np.exp(-20 * ((x - 0.32) ** 2 + (y - 0.4) ** 2))
            if method == "erm":
                maps = maps / 5
                maps[:, 4:12, 4:8] += 4e-3
            arrays[f"{place}/heatmap/{method}"] = maps * lungs if method == "teacher" else maps
            arrays[f"{place}/mean_heatmap/{method}"] = arrays[f"{place}/heatmap/{method}"]
        arrays |= {f"{place}/mean_n": np.array([9, 4]), f"{place}/mean_radiograph": images}
        arrays |= {f"{place}/mean_lung_mask": np.stack([lungs] * 2)}
        arrays |= {f"{place}/id": np.array(["r0030", "r0031"]), f"{place}/case": np.array(["typical", "worst"])}
    return arrays


def table_frame(groups=None):
    """The index with what each radiograph was taken with: 40 radiographs of 20 patients per hospital."""
    parts = []
    for place, (group, role) in enumerate((groups or GROUPS).items()):
        count = 40
        number = np.arange(count)
        split = np.where(number < 20, "train", np.where(number < 26, "val", "test"))
        part = pd.DataFrame(
            {
                "radiograph": [f"r{place}{one:03d}" for one in number],
                "hospital": group,
                "patient": [f"p{place}{one // 2:03d}" for one in number],
                "view": np.where(number % 4 < 1 + place, "AP", "PA"),
                "label": number % 2,
                "role": "external" if role == "ood" else "train",
                "split": "test" if role == "ood" else split,
                "group": group,
                "sex": np.where(number % 4 < 2, "F", "M"),
                "age_years": 40 + number % 30 + 5 * place,
                "manufacturer": ["Acme", "Acme", "Corvid"][place] if place < 3 else "unknown",
                "portable": "unknown",
                "text_on_border": np.where(number == 3, "text", "none"),
                "plausible": number != 7,
            }
        )
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    return table.astype({"label": "Int8", "age_years": "Int16"})


def scores_frame(groups=None):
    """What evaluate writes as scores.csv, for the test radiographs of table_frame."""
    table = table_frame(groups)
    tested = table[table["split"].eq("test")]
    common = tested[["radiograph", "hospital", "patient", "role", "split", "group", "label"]]
    parts = []
    for place, method in enumerate(METHODS):
        noise = np.random.default_rng(place).normal(size=len(tested))
        score = 1 / (1 + np.exp(-(2 * tested["label"].to_numpy(dtype=float) - 1 + noise)))
        part = common.assign(plausible_mask=tested["plausible"], method=method, score=score, predicted=np.nan)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def duplicates_frame(groups=None):
    """What ingest writes as duplicates.csv."""
    first, *_, last = groups or GROUPS
    rows = [("r0000", "r0001", 0.02, first, first, True, False, "kept")]
    rows.append(("r0002", "r1002", 0.03, first, last, False, True, "refused"))
    names = ("radiograph", "other", "distance", "hospital", "other_hospital", "same_patient", "leak", "done")
    return pd.DataFrame(rows, columns=names)


def failures(groups=None):
    """The surest errors, with their radiographs."""
    table = table_frame(groups)
    pictures = np.random.default_rng(5).random((len(table), 32, 32))
    return find_failures(scores_frame(groups), table, per_class=2, thresholds={}, radiographs=pictures)


def write_tables(index, lungs, scores, groups=None):
    """The tables and arrays of ingest, segment and evaluate that the report reads, in their files."""
    table = table_frame(groups)
    more = {"study": "s", "device": "unknown", "has_mask": True, "file": "0" * 12, "digest": "0" * 64}
    write_index(index.index, table.assign(**more))
    acquired = [dict(row) for row in table[["manufacturer", "portable", "age_years", "sex"]].to_dict("records")]
    for row, text in zip(acquired, table["text_on_border"], strict=True):
        row["text_on_border"] = text
    write_acquisition(index.acquisition, table["radiograph"], acquired)
    pictures = np.full((len(table), 32, 32), 0.5, dtype=np.float16)
    write_array(index.radiographs, pictures)
    masks = np.zeros(pictures.shape, dtype=np.uint8)
    masks[:, 10:22, 8:24] = 1
    write_array(lungs.lung_masks, masks)
    table[["radiograph", "hospital", "plausible"]].to_csv(lungs.masks, index=False)
    scores_frame(groups).to_csv(scores.scores, index=False)
    duplicates_frame(groups).to_csv(index.duplicates, index=False)


def flow_frame(groups=None):
    """What ingest writes as flow.csv."""
    names = list(groups or GROUPS)
    return pd.DataFrame(
        {"hospital": names, "found": 210, "accepted": 200, "refused": 10, "labelled": 200, "patients": 160}
    )


def refused_frame(groups=None):
    """What ingest writes as refused.csv."""
    names = list(groups or GROUPS)
    return pd.DataFrame(
        {"hospital": names * 2, "file": "0123456789ab", "reason": ["lateral view"] * 3 + ["no pixels"] * 3}
    )


def contents(groups=None, one_class=None):
    """Everything on the page."""
    return Contents(
        title="Three phantom hospitals",
        task="Disease texture in phantom radiographs; a letter goes with the label at the hospitals seen.",
        metrics=read_metrics(metrics_json(groups, one_class)),
        written=metrics_json(groups, one_class),
        outcomes=read_outcomes(outcomes_json(groups)),
        audited=outcomes_json(groups),
        questions=read_questions(outcomes_json(groups)),
        segmenter=read_segmenter(segmenter_json(groups)),
        flow=flow_frame(groups),
        refused=refused_frame(groups),
        table=table_frame(groups),
        duplicates=duplicates_frame(groups),
        scores=scores_frame(groups),
        failures=failures(groups),
        pictures=read_pictures(pictures_npz(groups)),
        provenance={"seed": "7", "commit": "0123456789ab", "date": "2026-11-22", "machine": "Linux x86_64, 2 cores"},
        settings="seed: 7\ningest:\n  size: 64\n",
        notes=("These hospitals are phantoms, made by code: nothing here says how a method does on people.",),
    )
