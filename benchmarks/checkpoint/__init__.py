"""Random Qwen3-VL checkpoints, made where they are measured: no download, the same bytes for the same seed.

sizes.py       what is 2B, 8B or tiny, as configurations
processor.py   tokenizer and pixel configuration, made here
write.py       weights, tensor by tensor, into safetensors
"""
