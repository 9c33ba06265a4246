"""Floor 3: the networks, the one training loop, and prediction row by row."""
