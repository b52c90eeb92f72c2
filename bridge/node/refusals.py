"""How the agent says no."""


class Refused(Exception):
    """What was asked for is there, and is not what it should be."""


class TimedOut(Exception):
    """A command did not end in its time and was killed."""
