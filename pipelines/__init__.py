"""In which order the wings are walked: one file a pipeline, read as a paper's method section."""
