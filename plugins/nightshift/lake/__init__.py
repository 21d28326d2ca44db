"""The lake: Delta tables, manifests and ingestion on file, S3 and Blob Storage."""
