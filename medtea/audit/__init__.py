"""Wing: does a network rely on what is outside the lungs? Explanation and intervention, with controls."""
