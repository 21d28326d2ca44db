"""The lake as others see it: tables in a catalog that people and tools ask."""
