"""Great Expectations suites run on a partition, and what is done with the rows that fail."""
