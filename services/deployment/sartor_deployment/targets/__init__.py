"""Where engines run. One file a kind of target."""
