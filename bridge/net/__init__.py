"""Going out: to addresses that were checked, by connections that go nowhere else.

Whom the bridge calls, users choose: the webhook of an actor, the registry of an image. A name is
resolved once, every address of it checked, and the connection made to the very address that was
checked: a name that means another address a moment later leads nowhere.

Door: `AddressRules`, and the steps `find_addresses`, `open_connection`, `cut_off_after`, `tls`.
"""

from bridge.net.addresses import AddressRules
from bridge.net.connect import cut_off_after, find_addresses, open_connection, tls

__all__ = ["AddressRules", "cut_off_after", "find_addresses", "open_connection", "tls"]
