"""Code that runs inside a job: knows neither Airflow nor nightshift."""
