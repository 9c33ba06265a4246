"""Wing: the teacher, and its background-free heatmap of every training radiograph."""
