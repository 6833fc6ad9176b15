"""What can be wrong with a model: one error that carries a reason and data, so that a worker can pass it on
as it is."""

from collections.abc import Mapping


class ModelError(Exception):
    """A model, adapter or chat template that cannot be used; trying again will not help.

    `reason` is an UPPER_SNAKE constant for programs, the message is for people and says what to do next.
    """

    def __init__(self, message: str, *, reason: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = dict(metadata or {})

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (str(self), self.reason, self.metadata)


def _rebuild(message: str, reason: str, metadata: Mapping[str, str]) -> ModelError:
    return ModelError(message, reason=reason, metadata=metadata)
