"""Pipeline files, settings and partition keys; knows nothing of Airflow."""
