"""Keys for the gateway: made here, and never shown again."""

from __future__ import annotations

from datetime import datetime

from sartor_platform import principal
from sartor_platform.errors import FieldViolation, InvalidArgument
from sartor_platform.names import new_id
from sartor_platform.transaction import Transaction

from sartor_deployment import store
from sartor_deployment.api_keys import API_KEY, ApiKey, digest, new_secret, shown
from sartor_deployment.resources import PROJECT


def create_api_key(
    tx: Transaction,
    parent: str,
    id_: str,
    *,
    tokens_per_minute: int,
    requests_per_minute: int,
    expire_time: datetime | None,
) -> tuple[ApiKey, str]:
    """Make a key. Returns it and its secret, of which only the hash is kept.

    Raises:
        InvalidArgument: BAD_RESOURCE_NAME, BAD_API_KEY.
        AlreadyExists: API_KEY_EXISTS.
    """
    project = PROJECT.parse(parent, field="parent")["project"]
    if tokens_per_minute < 0 or requests_per_minute < 0:
        raise InvalidArgument(
            "a quota cannot be negative; leave it out for none",
            reason="BAD_API_KEY",
            violations=[FieldViolation("api_key", "quotas must be at least 0")],
        )
    if expire_time is not None and expire_time <= tx.now:
        raise InvalidArgument(
            "the key would have expired before it is used",
            reason="BAD_API_KEY",
            violations=[FieldViolation("api_key.expire_time", "must be in the future")],
        )
    secret = new_secret()
    key = ApiKey(
        name=API_KEY.format(project=project, api_key=id_ or f"key-{new_id()}"),
        project=project,
        prefix=shown(secret),
        tokens_per_minute=tokens_per_minute,
        requests_per_minute=requests_per_minute,
        created_by=principal.current(),
        create_time=tx.now,
        expire_time=expire_time,
    )
    store.insert_api_key(tx, key, digest(secret))
    return key, secret
