"""The nightshift command line."""
