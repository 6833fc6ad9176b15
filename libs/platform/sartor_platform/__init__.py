"""What every Sartor service stands on; no domain word in it. Imports nothing by itself."""

__version__ = "0.1.0"
