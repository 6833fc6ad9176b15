"""Metrics, one file a family; `catalogue` names them all without importing what computes them."""
