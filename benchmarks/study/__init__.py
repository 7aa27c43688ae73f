"""Latency and accuracy of a list of variants, joined: what each quality costs.

config.py    CONFIG.toml, checked
run.py       bundles -> latency -> accuracy -> join, going on where it was broken off
join.py      one point for each variant, and the Pareto fronts
finding.py   the study in a sentence
panels.py, plot.py, scale.py, labels.py, geometry.py    the charts as data: axes, marks, labels that do not overlap
figure.py    the charts as a picture; chart.py as SVG
page.py, page_*.py    everything on one page; markup.py escapes, tables.py sorts, strips.py draws into cells
quantities.py    how numbers are written
minilm.toml  the default suite
"""
