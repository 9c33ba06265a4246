"""An ExportedProgram (.pt2, torch.export.save): a program, and its constants may be pickles: opened if trusted."""

from __future__ import annotations

from pathlib import Path

import torch

from medtea.core.errors import ConfigError
from medtea.core.work import digest_of_file
from medtea.training.given.model import ANY, Opened, Settings, asked_to_trust
from medtea.training.programs import is_exported_program

reads = is_exported_program
digest = digest_of_file


def opened(settings: Settings, path: Path, device: torch.device) -> Opened:  # noqa: ARG001 (the contract's)
    """The program, on the CPU: its devices were fixed when it was exported.

    Raises:
        ConfigError: it is not trusted, cannot be opened, or takes more than one input.
    """
    asked_to_trust(settings, "an ExportedProgram")
    try:
        program = torch.export.load(path)
    except Exception as error:  # a damaged archive makes torch raise almost any kind
        raise ConfigError(
            f"{settings.place}: the ExportedProgram is damaged or of another torch ({type(error).__name__})."
        ) from error
    inputs = program.graph_signature.user_inputs
    if len(inputs) != 1:
        raise ConfigError(f"{settings.place} takes {len(inputs)} inputs; give one that takes a radiograph alone.")
    values = [node.meta["val"] for node in program.graph.nodes if node.name == inputs[0]]
    takes = tuple(side if isinstance(side, int) else None for side in values[0].shape) if values else ANY
    network = program.module()
    if takes[0] is None:
        return Opened(lambda images: network(images.cpu()), takes, network=network)
    return Opened(
        lambda images: network(images.cpu()), takes, why_closed="It was exported for batches of one size alone."
    )
