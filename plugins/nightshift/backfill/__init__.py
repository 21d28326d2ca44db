"""History: the state of a range of partitions, the plan for it, and the days of it in one process."""
