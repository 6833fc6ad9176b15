"""Language models as Sartor handles them. Nothing heavy is imported here: take what you need from the
modules."""
