"""The `sartor` command and a small Python client: `Sartor.local()` reaches the stack of this folder."""
