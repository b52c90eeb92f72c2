"""The database: models, sessions, migrations. What the API and the scheduler meet in.

Door: `Database` (engine and sessions) and the models. Invariants of the design that SQL can hold
are constraints here: a message belongs to one execution, an execution to at most one array, a
final status has a finish time, an array's token is unique.
"""

from bridge.db.base import Base
from bridge.db.models import (
    IS_OPEN,
    Actor,
    Alias,
    AliasPermission,
    Array,
    ArrayTask,
    AuditRecord,
    ClusterUser,
    Config,
    ConfigPermission,
    ConfigTarget,
    CoreUsage,
    Event,
    Execution,
    Image,
    Lease,
    Log,
    Message,
    MessagePart,
    Nonce,
    Permission,
    RegistryLogin,
    Result,
    Worker,
    is_queued,
)
from bridge.db.session import Database

__all__ = [
    "IS_OPEN",
    "Actor",
    "Alias",
    "AliasPermission",
    "Array",
    "ArrayTask",
    "AuditRecord",
    "Base",
    "ClusterUser",
    "Config",
    "ConfigPermission",
    "ConfigTarget",
    "CoreUsage",
    "Database",
    "Event",
    "Execution",
    "Image",
    "Lease",
    "Log",
    "Message",
    "MessagePart",
    "Nonce",
    "Permission",
    "RegistryLogin",
    "Result",
    "Worker",
    "is_queued",
]
