"""Names that MLflow takes, and the grammar of a metric's name, by which runs are compared hospital by hospital.

    metric   = quantity [ bound ] [ "/" role ] [ "/" hospital ]
    bound    = "_low" | "_high"            the ends of the 95 % interval
    role     = "iid" | "ood"               whether a training or selection step saw the hospital

`auroc/ood/montgomery`, `auroc_low/ood/montgomery`, `dice/shenzhen`, `val_loss` (docs/tracking.md has the quantities).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

# MLflow's limits (mlflow.utils.validation), of its SQL store and its server
KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH = 250, 6000, 8000
_NOT_IN_A_KEY = re.compile(r"[^\w\-. /]")


def metric_name(quantity: str, hospital: str = "", *, role: str = "", bound: str = "") -> str:
    """The name of a metric; a slash in a hospital's name would be read as the grammar's own, and becomes `_`."""
    parts = [f"{quantity}_{bound}" if bound else quantity, role, hospital.replace("/", "_")]
    return "/".join(part for part in parts if part)


def key(name: str) -> str:
    """A name that MLflow takes: characters that it refuses become `_`, empty path parts go, and it is cut at 250."""
    parts = _NOT_IN_A_KEY.sub("_", name)[:KEY_LENGTH].split("/")
    return "/".join(part for part in parts if part.strip(".")) or "_"


def keys(names: Iterable[str]) -> dict[str, str]:
    """The key of each name; where two would get the same one, each is told apart by six digits of its digest."""
    found = {name: key(name) for name in names}
    count = Counter(found.values())
    return {
        name: made if count[made] == 1 else f"{made[: KEY_LENGTH - 7]}-{_digits(name)}" for name, made in found.items()
    }


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested mappings, and lists of mappings, as one level with dotted keys and values as text."""
    found: dict[str, str] = {}
    for name, value in values.items():
        place = f"{prefix}{name}"
        if isinstance(value, Sequence) and any(isinstance(item, Mapping) for item in value):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping) and value:
            found |= flat(value, prefix=f"{place}.")
        else:
            found[key(place)] = str(value)[:PARAM_LENGTH]
    return found


def _digits(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:6]
