"""In which order: each pipeline is one page, the method section of a paper as code."""
