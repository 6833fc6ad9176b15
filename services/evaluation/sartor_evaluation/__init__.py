"""Evaluation: scores of models and prompts with intervals, gates on them, and reports made to be read."""
