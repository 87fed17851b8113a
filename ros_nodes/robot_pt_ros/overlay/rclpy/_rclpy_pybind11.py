"""The exceptions that node code imports from rclpy's extension module; nothing else of it exists here."""


class InvalidHandle(RuntimeError):
    """An entity was used after it was destroyed."""


class RCLError(RuntimeError):
    """The layer below the client library refused."""


class RCLInvalidROSArgsError(RCLError):
    """A ROS argument on the command line does not parse."""


class UnknownROSArgsError(RuntimeError):
    """An argument between ``--ros-args`` and ``--`` that ROS does not know."""


class NodeNameNonExistentError(RCLError):
    """A graph query named a node that is not there."""


class UnsupportedEventTypeError(RCLError):
    """A callback was asked for an event that the transport does not report."""
