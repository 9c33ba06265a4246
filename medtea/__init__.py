"""medtea: students that learn from a teacher's explanations, from several hospitals' DICOM to one report.

The house on one page. A pipeline (`medtea.pipelines`) calls the wings in the data's order; what passes between them is
an artefact, a folder on disk whose `record.json` is written last (`medtea.core.names` lists what each folder holds).

=========  ======================================  ====================================================================
wing       reads                                   writes
=========  ======================================  ====================================================================
ingest     a source: DICOM, tables, the phantom    index.parquet, radiographs.npy, given_masks.npy, refused.csv
scenes     images with a known shortcut            an index like ingest's, in colour, and twins.npy
plant      index                                   an index like ingest's, with known marks stamped on the radiographs
segment    index                                   segmenter.safetensors, lung_masks.npy, masks.csv, metrics.json
teach      index, lung masks                       teacher.safetensors, bank/ (augmented copies, heatmaps), card.json
distil     index, teacher                          per method: student.safetensors, history.csv, card.json
evaluate   index, lung masks, teacher, students    scores.csv, metrics.json
audit      index, lung masks, teacher, students    outcomes.json, outcomes.csv
report     all of the above                        report.html, .md, .json, figures/
=========  ======================================  ====================================================================

Floors, each of which knows only those before it: `core`; `data`, `lrp`, `metrics`; `explain`, `training`; the wings,
which never import one another; `cli`; the pipelines. A wing is read from its `stage.py`: `Settings` and `run`.
"""

from __future__ import annotations

from importlib import metadata

try:
    __version__ = metadata.version("medtea")
except metadata.PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+not.installed"
