"""The gateway: the OpenAI-compatible API in front of the engines."""
