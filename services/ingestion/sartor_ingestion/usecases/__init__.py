"""One function for each request, event or job result: validate, change state, publish, in one transaction."""
