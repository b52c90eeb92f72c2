"""Names that both sides work out for themselves."""

import hashlib

_ALPHABET = "abcdefghijklmnopqrstuwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ013456789"  # no v and no 2


def worker_id(array, worker):
    # type: (str, str) -> str
    """Return the Abaco id of a worker: 13 letters and digits, from the array's token and its name.

    The container shows it (``_abaco_worker_id``) before the bridge has read the journal, so both
    sides derive it from what they know.
    """
    number = int(hashlib.sha256((array + "/" + worker).encode()).hexdigest(), 16)
    letters = []
    for _ in range(13):
        number, rest = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[rest])
    return "".join(letters)
