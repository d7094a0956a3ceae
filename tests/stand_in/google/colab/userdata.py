"Secrets of the person: the variables STAND_IN_SECRET_<name>."

import os


class SecretNotFoundError(Exception):
    pass


def get(key):
    if (value := os.environ.get(f"STAND_IN_SECRET_{key}")) is None:
        raise SecretNotFoundError(f"Secret {key} does not exist.")
    return value
