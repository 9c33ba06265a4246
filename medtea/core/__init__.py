"""Floor 1: what every room stands on; knows no room above it."""
