"""Where rclpy keeps what is below its surface; only what node code imports by name is here."""
