"""Numbers about predictions, masks and heatmaps, each with its interval; "no answer" is NaN, never 0 or 0.5."""
