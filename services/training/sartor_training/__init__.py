"""Training: base models are prepared, and curated data becomes model versions."""
