"""What deployment does: one function for each request, event, job result or sighting of an engine."""
