"""ROS 2's wire format over the `cyclonedds` wheel: messages, CDR, endpoints, services and the graph. See README.md."""
