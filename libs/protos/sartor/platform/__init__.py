"""Generated from protos/ by libs/protos/generate.py; do not edit."""
