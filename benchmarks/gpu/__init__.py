"""`smartrt bench gpu`: all that needs a GPU in one run and one JSON file: such a machine is lent for minutes.

plan.py           what is made and measured, as data: the whole plan, a quick one, and whatever a test makes
suite.py          runs parts one after another; the file is rewritten after each, and one that fails ends no other
parts.py          the parts of a plan: tests, checkpoint, exports, plans of TensorRT, latency
contest.py        one group of contenders, those that cannot run left out and named
children.py       processes with a deadline
requirements.py   what the results must show, and whether they do
report.py         lines for a terminal
"""
