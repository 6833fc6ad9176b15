"""What training does: one function for each request, event or job result, each in one transaction."""
