"""What there is to choose from, a config with its defaults, and the file behind a digest."""

from __future__ import annotations

from typing import Annotated

import typer

from medtea.audit import probes
from medtea.cli.configs import first_comment, load, own_configs, source_of
from medtea.cli.options import Config, From, Set, To
from medtea.cli.screen import out
from medtea.cli.walking import folder_of
from medtea.core import bay
from medtea.core.errors import UsageError, nearest
from medtea.core.settings import to_yaml
from medtea.distil import methods
from medtea.ingest import sources
from medtea.ingest.stage import open_source
from medtea.scenes import sets
from medtea.teach import teachers
from medtea.training.networks import BACKBONES


def check(config: Config, set_: Set = None, from_: From = None) -> None:
    """Read a config, fill in every default and print it; nothing is run."""
    _, settings = load(config, [*source_of(config, from_), *(set_ or [])])
    out.print(to_yaml(settings.model_dump(mode="json")), markup=False, highlight=False, soft_wrap=True, end="")


def list_(
    what: Annotated[str, typer.Argument(help="methods, sources, sets, probes, teachers, networks, configs")],
) -> None:
    """What there is to choose from."""
    known = {"methods": methods, "sources": sources, "sets": sets, "probes": probes, "teachers": teachers}
    if what == "networks":
        entries = {name: spec.about for name, spec in BACKBONES.items()}
    elif what == "configs":
        entries = {path.stem: first_comment(path) for path in own_configs()}
    elif what in known:
        entries = {name: bay.summary(bay.load(known[what], name, what)) for name in bay.names(known[what])}
    else:
        raise UsageError(f"'{what}' cannot be listed. {nearest(what, [*known, 'networks', 'configs'])}")
    width = max(len(name) for name in entries)
    for name, about in entries.items():
        out.print(f"{name:<{width}}  {about}", markup=False, highlight=False, soft_wrap=True)


def where(
    config: Config,
    file: Annotated[str, typer.Argument(help="What refused.csv and the index call the file.")],
    to: To = None,
    from_: From = None,
) -> None:
    """The path of a file that refused.csv names by a digest; for you alone, it may hold a name."""
    _, settings = load(config, source_of(config, from_))
    path = open_source(settings.ingest, folder_of(config, to), settings.seed).where(file)
    if path is None:
        raise UsageError(f"'{file}' is no file of this source. Take the first column of ingest/refused.csv.")
    out.print(str(path), markup=False, highlight=False, soft_wrap=True)
