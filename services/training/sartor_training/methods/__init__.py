"""Methods of training, usable without a running service."""
