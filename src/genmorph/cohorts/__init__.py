"""From raw trees to one manifest: a file per layout, one schema for all."""
