"""Tables and queries of training: one place. One file for each group of tables that change together."""
