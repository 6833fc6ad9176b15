"""Where to deploy: requirements and measured figures against a price table, by a stated roofline model."""
