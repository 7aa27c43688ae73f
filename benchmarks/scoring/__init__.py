"""`smartrt bench maxsim`: smartrt's scorer against others, on made-up token vectors.

cases.py        what is scored
contenders.py   who scores it
peer.py         a contender that can crash, in a process of its own
probes.py       what the machine can do at that moment
measure.py      rounds in random order, ratios within a round
"""
