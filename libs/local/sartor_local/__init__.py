"""The embedded stack: real servers and Sartor's services on this machine, in one folder, supervised."""
