"""Is the served engine the evaluated model? Forced answers, compared with what evaluation saw."""
