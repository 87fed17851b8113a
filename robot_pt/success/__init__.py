"""Has the task succeeded in this picture? A small classifier trained on labelled frames, and what is known about how well it does.

`robot_pt.success.classifier.SuccessClassifier` runs beside a robot: it needs torch and OpenCV only.
"""
