"""What every Sartor service stands on; no domain word in it. Imports nothing: a process pays only for what it uses."""

__version__ = "0.1.0"
