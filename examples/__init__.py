"""Other pipelines, built on this one without changing it."""
