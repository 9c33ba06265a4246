"""Scores of three methods at a few hospitals, drawn by a known law, as evaluate's scores.csv has them."""

from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.special import expit

from medtea.evaluate.calibration import probabilities
from medtea.evaluate.distributions import score_distributions
from medtea.evaluate.heterogeneity import heterogeneity
from medtea.evaluate.sites import site_baseline
from medtea.evaluate.subgroups import parts_of, subgroups

HOSPITALS = {
    "north": ("train", 0.5),
    "west": ("train", 0.3),
    "south": ("external", 0.4),
    "far <east>": ("external", 0.6),
}
METHODS = {"teacher": (1.0, 0.0), "tea": (2.0, 0.5), "erm": (0.5, -0.5)}
"""Slope and offset with which a method tells the true logit; 1 and 0 is calibrated."""
N = 90


def made_scores(hospitals=None, methods=METHODS, n=N, seed=0, per_patient=2):
    """Rows of scores.csv. A hospital is its role and by how much, as a share, its prevalence differs."""
    generator = np.random.default_rng(seed)
    rows = []
    for place, (hospital, (role, share)) in enumerate((hospitals or HOSPITALS).items()):
        splits = ["test"] if role == "external" else ["val", "test"]
        for split in splits:
            logit = generator.normal(np.log(share / (1 - share)), 1.5, n)
            label = (generator.random(n) < expit(logit)).astype(int)
            for method, (slope, offset) in methods.items():
                rows.append(
                    pd.DataFrame(
                        {
                            "radiograph": [f"r{place}{split}{i}" for i in range(n)],
                            "hospital": hospital,
                            "patient": [f"p{place}{split}{i // per_patient}" for i in range(n)],
                            "role": role,
                            "split": split,
                            "group": hospital,
                            "label": label,
                            "plausible_mask": True,
                            "method": method,
                            "score": expit(offset + slope * logit),
                            "predicted": np.nan,
                        }
                    )
                )
    return pd.concat(rows, ignore_index=True)


def made_index(scores):
    """The index of these rows, and three training radiographs of each hospital that is trained at."""
    one = scores[scores["method"].eq(scores["method"].iloc[0])].drop(columns=["method", "score", "predicted"])
    trained = one[one["role"].eq("train")].groupby("hospital").head(3).assign(split="train")
    trained = trained.assign(radiograph="t" + trained["radiograph"], label=[0, 1, 1] * (len(trained) // 3))
    return pd.concat([one, trained], ignore_index=True).assign(view="PA")


def made_acquisition(index, seed=0):
    """With what and how the rows of an index were taken."""
    generator = np.random.default_rng(seed)
    n = len(index)
    return pd.DataFrame(
        {
            "radiograph": index["radiograph"],
            "manufacturer": generator.choice(["Maker One", "unknown"], n),
            "portable": "unknown",
            "sex": generator.choice(["F", "M", "O"], n, p=[0.5, 0.45, 0.05]),
            "age_years": pd.array(generator.integers(20, 79, n), dtype="Int16"),
            "year": pd.array([2024] * n, dtype="Int16"),
        }
    )


@lru_cache
def numbers_of_scores(methods, groups, one_class=None):
    """The keys of metrics.json that follow from scores, of these methods; groups are (name, "iid" or "ood") pairs."""
    roles = [*groups, *([(one_class, "ood")] if one_class else [])]
    hospitals = {name: ("train" if role == "iid" else "external", 0.5) for name, role in roles}
    laws = {name: (1 + place, 0.3 * place) for place, name in enumerate(methods)}
    scores = made_scores(hospitals, laws, n=60)
    scores.loc[scores["group"].eq(one_class), "label"] = 0
    index, draws = made_index(scores), {"replicates": 100, "seed": 0}
    return {
        **probabilities(scores, thresholds=(0.05, 0.95), **draws),
        "score_distributions": score_distributions(scores),
        "heterogeneity": heterogeneity(scores),
        "sites": site_baseline(scores, index, **draws),
        "subgroups": subgroups(scores, parts_of(index, made_acquisition(index)), **draws),
    }
