"""One function for each request, event or job result: validate, change state, write the outbox, in one
transaction.
"""
