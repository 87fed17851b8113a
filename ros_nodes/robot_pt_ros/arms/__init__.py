"""Drivers of real arms behind `robot_pt.arm_adapter.Driver`, and how their joint states are read."""
