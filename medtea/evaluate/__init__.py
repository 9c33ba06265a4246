"""Wing: how well every network holds at the hospitals it was trained at and at those it was not."""
