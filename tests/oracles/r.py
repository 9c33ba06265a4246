"""Asks R, where it is installed: an implementation by other people, in another language.

On Debian: apt-get install r-base-core r-cran-proc r-cran-metafor r-cran-rms
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

import numpy as np
import pytest


def vector(values: Sequence[float] | np.ndarray) -> str:
    """Numbers as R writes them: c(1, 2.5), with all their digits."""
    return f"c({', '.join(repr(float(value)) for value in values)})"


def asked_of_r(program: str, *packages: str) -> dict[str, float]:
    """What the program tells by tell("name", number); the test is skipped where R or one of the packages is missing."""
    if shutil.which("Rscript") is None:
        pytest.skip("Rscript is not installed: apt-get install r-base-core")
    loaded = "; ".join(
        f'if (!suppressPackageStartupMessages(require("{name}", quietly = TRUE))) cat("missing {name}\\n")'
        for name in packages
    )
    tell = 'tell <- function(name, value) cat(sprintf("told %s %.17g\\n", name, as.numeric(value)), sep = "")'
    done = subprocess.run(
        ["Rscript", "--vanilla", "-"],
        input=f"{loaded}\n{tell}\n{program}",
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("missing "):
            pytest.skip(f"R has no package {line.split()[1]}: apt-get install r-cran-{line.split()[1].lower()}")
    assert done.returncode == 0, done.stderr
    told = [line.split() for line in done.stdout.splitlines() if line.startswith("told ")]
    return {name: float(value) for _, name, value in told}
