"""Bay: one file a method, how a student is trained; see method.py for the contract."""

CONTRACT = "method"
