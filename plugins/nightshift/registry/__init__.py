"""MLflow: runs, model versions, and which one is champion."""
