"""`smartrt bench gpu`: all that needs a GPU in one run and one JSON file.

plan.py           what is made and measured, as data: the whole plan, a quick one, and whatever a test makes
suite.py          runs parts one after another; the file is rewritten after each, and one that fails ends no other
parts.py          the parts of a plan: tests, checkpoint, exports, plans of TensorRT, latency
bundles.py        whether a bundle that is there is the one that the plan means
contest.py        one group of contenders, those that cannot run left out and named
children.py       processes with a deadline
evidence.py       the rows of all parts: which count, and why what is missing is
requirements.py   what the rows must show, and whether they do
report.py         lines for a terminal
"""
