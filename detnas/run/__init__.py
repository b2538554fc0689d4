"""A run: the pipeline's stages over a run directory."""
