"""`colcon build` of this folder. All metadata is here: setuptools 59 (Humble) reads none from pyproject.toml, and says nothing.

launch/ lies at the root of the checkout, where people look for it; it is installed from there. Built from a copy of ros_nodes/ alone,
the package has no launch files.
"""

import os
from glob import glob

from setuptools import find_namespace_packages, setup

NAME = "robot_pt_ros"
NODES = ("arm", "camera", "episodes", "manager", "online", "policy", "recorder", "sim", "supervisor", "teleop")

HERE = os.path.dirname(os.path.realpath(__file__))  # the sources, also where colcon only links to them


def files(pattern):
    """Paths below or beside the sources, relative to them: colcon takes no others."""
    return sorted(os.path.relpath(path, HERE) for path in glob(os.path.join(HERE, pattern)))


setup(
    name=NAME,
    version="0.1.0",
    description="Runs a robot-pt policy on an arm or in MuJoCo, through ROS 2.",
    license="Apache-2.0",
    maintainer="robot-pt",
    maintainer_email="robot-pt@users.noreply.github.com",
    python_requires=">=3.11",
    # the overlay's folder is no package itself
    packages=find_namespace_packages(include=[NAME, NAME + ".*"], exclude=["*.__pycache__", "*.__pycache__.*"]),
    package_data={"": ["py.typed", "*.md"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + NAME]),
        ("share/" + NAME, ["package.xml"]),
        ("share/" + NAME + "/launch", files("../launch/*.launch.yaml")),
        ("share/" + NAME + "/config", files("config/*.yaml")),
    ],
    zip_safe=True,
    entry_points={"console_scripts": [f"{node} = {NAME}.executables:{node}" for node in NODES]},
)
