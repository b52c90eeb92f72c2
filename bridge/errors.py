"""The one error tree of the house.

Each class carries what both readers need: the HTTP side reads `status` and `code`, the scheduler
reads `retryable`. Messages are whole sentences: what, to what, expected what, try what. Facts ride
as attributes; never a secret, never a whole environment. Denied and invalid requests answer 400
because Abaco's clients and its test suite expect that (abaco_contract.md 0.4 and Appendix B).

Drawing (a test keeps it true):

    BridgeError
        RequestError
            InvalidField
            UnsupportedMedia
            PayloadTooLarge
            MethodNotAllowed
            QueryTooCostly
        AuthenticationError
        PermissionDenied
        NotFound
        Conflict
        LimitReached
        NotFinished
        KeysUnavailable
        ConfigsUnusable
        SettingsError
        SiteConfigError
        DatabaseError
        SandboxError
        WebhookError
            WebhookRefused
            WebhookFailed
        ClusterError
            SessionError
                ConnectFailed
                CommandTimeout
                FileRefused
                UserUnknown
            SlurmError
                SlurmUnavailable
                PolicyLimit
                SubmitRejected
                UnreadableOutput
            ContainerError
                ImageUnknown
                ImageRefused
                PullFailed
"""

from __future__ import annotations


class BridgeError(Exception):
    """Base of every error that is ours; not raised itself."""

    status: int = 500
    retryable: bool = False

    def __init__(self, message: str = "", **facts: object) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.facts = facts

    @property
    def message(self) -> str:
        """The sentence for a person."""
        return str(self.args[0])


class RequestError(BridgeError):
    """The request is not one that the contract knows."""

    status = 400


class InvalidField(RequestError):
    """A field of the body or query has a value that is not allowed."""


class UnsupportedMedia(RequestError):
    """The body is of a content type that this endpoint does not take."""


class PayloadTooLarge(RequestError):
    """The message is larger than the configured limit."""


class MethodNotAllowed(RequestError):
    """The URL exists, the method does not."""

    status = 405


class QueryTooCostly(RequestError):
    """Answering would take more time or memory than one request is given."""


class AuthenticationError(BridgeError):
    """The request carries no credential, or one that does not hold."""

    status = 400


class PermissionDenied(BridgeError):
    """The caller is known and may not do this."""

    status = 400


class NotFound(BridgeError):
    """The object does not exist, or not for this tenant."""

    status = 404


class Conflict(BridgeError):
    """The object is not in a state in which this can be done."""

    status = 400


class LimitReached(BridgeError):
    """A limit of the tenant or the site is reached; trying later may help."""

    status = 429
    retryable = True


class NotFinished(BridgeError):
    """What the request waited for is not there yet; it goes on."""

    status = 408
    retryable = True


class KeysUnavailable(BridgeError):
    """The keys that verify a tenant's tokens cannot be had at the moment."""

    status = 503
    retryable = True


class ConfigsUnusable(BridgeError):
    """What the configs of an actor hold cannot be given to its containers."""

    status = 400


class SettingsError(BridgeError):
    """A BRIDGE_* setting is missing or has a value that is not allowed."""


class SiteConfigError(BridgeError):
    """The site file has mistakes; the message lists every one."""


class DatabaseError(BridgeError):
    """The database is not at the schema that this release needs."""


class SandboxError(BridgeError):
    """The sandbox cannot be built, started or reached."""


class WebhookError(BridgeError):
    """An event was not taken by its webhook."""


class WebhookRefused(WebhookError):
    """The webhook cannot be used, or does not want this event: it is not tried again."""


class WebhookFailed(WebhookError):
    """The webhook did not answer, or not with success; it is tried again."""

    retryable = True


class ClusterError(BridgeError):
    """Something on the way to the cluster, or on it, went wrong."""

    status = 502


class SessionError(ClusterError):
    """Acting as a user on a cluster failed."""


class ConnectFailed(SessionError):
    """No session as this user could be opened, or it broke."""

    status = 503
    retryable = True


class CommandTimeout(SessionError):
    """A command did not end in its time; what it did is unknown."""

    status = 504
    retryable = True


class FileRefused(SessionError):
    """A file is not what it should be: missing, not regular, not the owner's, too large."""


class UserUnknown(SessionError):
    """The user has no account on the cluster, or one that may not be used."""

    status = 400


class SlurmError(ClusterError):
    """Slurm answered, and not with success."""


class SlurmUnavailable(SlurmError):
    """Slurm did not answer; whether it acted is unknown."""

    status = 503
    retryable = True


class PolicyLimit(SlurmError):
    """Slurm refuses for now: a limit of the user, account or QOS is reached."""

    retryable = True


class SubmitRejected(SlurmError):
    """Slurm refuses this submission for good."""


class UnreadableOutput(SlurmError):
    """Slurm's output is not of the form that its manual page gives."""


class ContainerError(ClusterError):
    """An image cannot be used."""


class ImageUnknown(ContainerError):
    """The registry does not have this image, or does not show it to us."""


class ImageRefused(ContainerError):
    """The site does not allow this image, or where it comes from."""

    status = 400


class PullFailed(ContainerError):
    """The image could not be pulled or converted."""

    retryable = True
