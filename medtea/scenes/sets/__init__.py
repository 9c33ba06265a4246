"""Bay: one file a set of images with a known shortcut; see scene_set.py for the contract."""

CONTRACT = "scene_set"
