"""Bay: one file a probe, one test of shortcut reliance; see probe.py for the contract."""

CONTRACT = "probe"
