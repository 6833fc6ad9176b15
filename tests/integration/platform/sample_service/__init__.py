"""A service with nothing to do but what the platform does for every service."""
