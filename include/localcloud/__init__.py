"""Clouds on loopback: control planes whose jobs really run, for demos and for tests. Knows no Airflow."""
