"""Bay: one file a teacher; see teacher.py for the contract."""

CONTRACT = "teacher"
