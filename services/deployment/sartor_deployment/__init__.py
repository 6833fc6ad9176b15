"""Deployment: approved model versions are built, checked through their engine, and answer users."""
