"""The report as one Markdown text: the same sections as the page, with its figures as files beside it."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import (
    Alert,
    Beside,
    Block,
    Code,
    Facts,
    Fold,
    Gallery,
    Heading,
    Plot,
    Points,
    Section,
    Text,
)
from medtea.report.tables import escaped, to_markdown


def markdown_of(title: str, task: str, sections: Sequence[Section]) -> str:
    """The whole report. What would end a line, open a tag or start a link is escaped."""
    parts = [f"# {escaped(title)}", *([escaped(task)] if task else [])]
    for section in sections:
        parts += [f"## {section.title}", *(_block(one) for one in section.blocks)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Text():
            return escaped(block.text)
        case Alert():
            return f"> **{escaped(block.text)}**"
        case Points():
            return "\n".join(f"- {escaped(sentence)}" for sentence in block.sentences)
        case Heading():
            return f"### {escaped(block.text)}"
        case Facts():
            return "\n".join(f"- {escaped(name)}: {escaped(value)}" for name, value in block.facts.items())
        case Code():
            # indented, because no fence is safe from the text inside it
            return "\n".join(f"    {line}" for line in block.text.splitlines())
        case Plot() | Gallery():
            files = f"![{escaped(block.caption)}](figures/{block.name}.svg)"
            return f"{files}\n\n{escaped(block.caption)} [Its numbers](figures/{block.name}.csv)"
        case Beside():
            return "\n\n".join(_block(one) for one in block.blocks)
        case Fold():
            return "\n\n".join([f"**{escaped(block.summary)}**", *(_block(one) for one in block.blocks)])
        case _:
            return f"**{escaped(block.caption)}**\n\n{to_markdown(block)}"
