"""Pages of our own inside Airflow's UI."""
