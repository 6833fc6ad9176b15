"""Curation: cleans, checks and splits the records of a snapshot, and says what it dropped and why."""
