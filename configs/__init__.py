"""With which values: one YAML an experiment, holding only what differs from the defaults."""
