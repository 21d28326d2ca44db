"""One operator per verb; the platform is an argument."""
