"""Bay: one file a section of the report, found by its name; see section.py for the contract."""

CONTRACT = "section"
