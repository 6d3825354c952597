"""Base models: the embedded pebble, a folder, a GGUF file, or a pinned revision from the hub.

Knows nothing about training or writing. Imports neither torch nor transformers.
"""
