"""Wing: a known shortcut is planted: a mark outside the lungs that goes with the label where one wants it to."""
