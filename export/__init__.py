"""PyTorch -> ONNX -> bundle.

command.py       `smartrt export`
pipeline.py      the steps, from a checkpoint to a renamed bundle directory
onnx_config.py   optimum's exporter, with our two outputs
graph.py         writing a graph and refusing what engines cannot run
tokenizer.py     the tokenizer as the runtime will read it
defaults.py      opset and tolerance
parity.py        the bundle against the PyTorch reference
sentences.py     the texts of that check
"""
