"""Streams between nodes from the first message on, one live link a pair."""
