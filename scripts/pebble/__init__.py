"""pebble's recipe: prepare, tokenizer, pack, train, evaluate, package, general; see README.md."""
