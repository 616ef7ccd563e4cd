"""pysyncobj, and nothing else of it: the graft that patches it, the journal that it writes to."""
