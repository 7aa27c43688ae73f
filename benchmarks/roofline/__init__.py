"""How fast a call could be at best: the roofline (Williams, Waterman, Patterson, *Roofline*, CACM 52(4), 2009).

gpus.py    memory bandwidth and peak arithmetic of GPUs, each with its source
work.py    what a bundle reads and multiplies for a shape, counted from the bundle
floor.py   the time that no program can beat: the longer of both
"""
