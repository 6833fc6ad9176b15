"""How files of rows are read: one file a format, each in bounded memory, each bad row with its reason."""
