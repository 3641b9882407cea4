"""One file a queue, each set up as its own documentation advises; `base.py` says what each has to offer."""
