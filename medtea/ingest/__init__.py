"""Wing: every file of a source ends as an accepted radiograph or as a refusal with its reason."""
