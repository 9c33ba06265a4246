"""With which values: one experiment is one YAML file, its sections named as the wings."""
