"""Configuration of a node: read from one TOML file, checked at the edge, frozen.

Knows: keys, defaults, units, rules between keys. Must not know: what the rooms make of them.
"""
