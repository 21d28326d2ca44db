"""Validation: Great Expectations decides, rows are split into clean and quarantined, a page reports."""
