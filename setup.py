"""What pyproject.toml cannot say: the version is the changelog's, and two top-level folders belong to the package."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

CHANGELOG = Path(__file__).with_name("CHANGELOG.md").read_text(encoding="utf-8")
VERSION = re.search(r"^## \[?(\d+\.\d+\.\d+[^\]\s]*)", CHANGELOG, re.MULTILINE)
if VERSION is None:
    raise SystemExit("CHANGELOG.md has no version heading. Write one as '## [0.1.0] - 2026-11-22', the newest first.")

setup(
    version=VERSION[1],
    packages=[*find_packages(include=["medtea", "medtea.*"]), "medtea.pipelines", "medtea.configs"],
    package_dir={"medtea.pipelines": "pipelines", "medtea.configs": "configs"},
    package_data={"medtea": ["py.typed"], "medtea.configs": ["*.yaml"], "medtea.report": ["*.html", "*.css", "*.js"]},
)
