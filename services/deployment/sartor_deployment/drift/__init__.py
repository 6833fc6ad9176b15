"""Drift: whether what users ask, what they are told and what they think of it is still as it was."""
