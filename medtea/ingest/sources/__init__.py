"""Bay: one file a source, where radiographs come from; see source.py for the contract."""

CONTRACT = "source"
