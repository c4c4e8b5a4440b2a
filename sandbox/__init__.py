"""A laptop-sized copy of the world around the pipeline."""
