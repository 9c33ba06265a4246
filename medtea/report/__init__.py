"""One self-contained page per run, and the same tables for the terminal and for Markdown."""
