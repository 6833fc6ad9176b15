"""Weights for an engine: base model and adapter become one GGUF file."""
