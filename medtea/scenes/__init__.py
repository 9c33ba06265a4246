"""Scenes: sets of images with a known shortcut, in the place of ingest."""
