"""The paper's controlled benchmark: pages that differ only in which code labels which marker.

SMART (arXiv 2605.24938), appendix A. A report page has 25 panels, each of which binds a short code to a coloured
shape: ``K7Q`` labels the red star. Its hard negative has the same layout, the same codes and the same markers, and no
code where it was. "Find the report where code K7Q labels the red star marker" is then a decision between two pages
that hold the same things: only who keeps together what stands together gets more than half of them right.

The paper reports, of 1,000 decisions on 40 pairs of its own pages and with weights of its own, pooled 31.9 %, late
56.8 %, hybrid 42.6 %, jina-embeddings-v4 50.9 % and ColPali 48.7 %. The pages here are made anew from its description:
figures compare among bundles that were shown the same (`sha256`), and with the paper's in kind only.

dice.py        chance that is the same on every machine
bindings.py    Marker, Binding, Page, Pair, Toy: what is bound to what
layout.py      where on a page everything stands
charts.py      what clutters the panels
text.py        the text twin of a page, and the queries
canvas.py      lines, shapes and text at twice the size, reduced at the end
shapes.py      the outlines of the markers
plots.py       a chart in its panel
drawing.py     the two pages of a pair
proof.py       they differ inside the label boxes, in every one of them and nowhere else
scoring.py     decisions, their share and its interval
content.py     what is shown of a pair, and its SHA-256
measure.py     what an encoder decides
written.py     the set as files

>>> toy = Toy.make(seed=0, pairs=40)
>>> positive, negative = draw_pair(toy.pairs[0])
"""
