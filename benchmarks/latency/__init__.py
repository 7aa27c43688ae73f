"""Time, memory and energy of bundles against PyTorch, each contender in a process of its own.

grid.py        what is measured, as data: contenders x threads x cells
ways.py        how a bundle runs, as it is written on a command line
workload.py    the inputs of every cell, made once, the same for all
worker.py      the process of one contender
ours.py, theirs.py    what runs in it: a bundle, or PyTorch
process.py     the parent's hold on such a process
blocks.py      fresh processes, visited in random order: raw samples
outputs.py     whether the contenders computed the same
floors.py      what no program can beat on the GPU, and how far above it a row is
summary.py     percentiles, ratios, intervals, what was noisy
measure.py     all of it; what was measured before is kept
again.py       whether two runs agree
"""
