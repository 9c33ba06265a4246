"""BAY: kinds of files that a network can come in, to be scored beside ours; the file's name is the kind."""

CONTRACT = "model"
