"""`python -m robot_pt_ros NAME --ros-args ...`: an executable where none is installed."""

from robot_pt_ros.executables import main

raise SystemExit(main())
