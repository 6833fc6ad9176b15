"""Task files of lm-evaluation-harness, run as they are: same texts, same examples, same tokens, same
figures."""
