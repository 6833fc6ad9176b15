"""Tables and queries of ingestion: one place. One file for each group of tables that change together."""
