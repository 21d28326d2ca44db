"""Sign-in: Airflow connections and configuration turned into settings, locations and platforms."""
