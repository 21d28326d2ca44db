"""Where a model version came from: its record, its story, and whether it can be made again."""
