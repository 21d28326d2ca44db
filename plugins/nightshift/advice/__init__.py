"""Which AWS service for which need: a table, and what a pipeline file makes of it."""
