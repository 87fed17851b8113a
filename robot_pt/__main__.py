"""``python -m robot_pt`` is the ``robot-pt`` command."""

from robot_pt.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
