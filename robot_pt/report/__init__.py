"""The report of a run: one HTML file that opens by double click, asks nothing of the network and follows light or dark.

Every part is optional: a pretraining run has curves and data, an evaluation has rates and clips, the demo has everything.

    write_report(run / "report.html", Report(title="Lift", evaluations=[ptr, bc], curves={"pretrain": read_metrics(path)}))
"""

from robot_pt.report.inputs import clips_of, from_run, read_metrics
from robot_pt.report.model import Clip, Judged, Measured, Online, Picture, Point, Report, Seen, Selection
from robot_pt.report.page import render, write_report

__all__ = [
    "Clip", "Judged", "Measured", "Online", "Picture", "Point", "Report", "Seen", "Selection", "clips_of", "from_run", "read_metrics", "render",
    "write_report",
]  # fmt: skip
