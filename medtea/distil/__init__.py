"""Wing: students. A student sees whole radiographs and needs no segmenter at inference."""
