"""The agent: keeps an engine for every revision that needs one, and says where it answers."""
