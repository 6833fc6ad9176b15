"""`make demo-loop`: traffic shifts, the loop tunes the model again, three bad models are stopped."""
