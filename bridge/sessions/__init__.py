"""Acting as a user on a cluster.

One port, `UserSession`; every way of it speaks to an agent (bridge.node.agent) that already runs
as that user. `local` starts the agent as the bridge's own user; `setuid` asks the spawner, the only
process with root's rights, which becomes the user and then executes the agent; `sudo` and `ssh`
leave that to the host's own sudo and sshd. Whichever it was, the agent's greeting is held against
the account that was meant. The process that reads the database and parses what users wrote is
never root. (The design had the scheduler itself as root; a spawner with one verb leaves far less
code with that power: field.md 2.3.)
"""

from bridge.sessions.base import Completed, Entry, UserSession
from bridge.sessions.pool import SessionPool

__all__ = ["Completed", "Entry", "SessionPool", "UserSession"]
