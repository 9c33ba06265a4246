"""Sixty logits and labels without a random number, so that another language can make the same ones."""

import numpy as np
from scipy.special import expit

LOGITS = -2 + 4 * np.arange(60) / 59
LABELS = ((np.arange(60) * 0.6180339887498949) % 1 < expit(0.3 + 0.6 * LOGITS)).astype(int)
IN_R = """
i <- 0:59; x <- -2 + 4 * i / 59; y <- as.integer((i * 0.6180339887498949) %% 1 < plogis(0.3 + 0.6 * x))
"""
"""The same rows: x and y."""
