"""The stack that make demo starts on one machine: servers, sample data, one night."""
