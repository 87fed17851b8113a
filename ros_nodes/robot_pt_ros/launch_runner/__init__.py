"""ROS 2's YAML launch files where ROS 2 is not installed: the same file, the same processes, the same arguments.

`description` reads a file, `evaluate` turns it and its arguments into processes, `runner` starts and stops them.
"""
