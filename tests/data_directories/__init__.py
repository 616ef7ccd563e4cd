"""Data directories as releases have written them, one a format. Later releases must read them, or migrate them.

A directory here is never made anew once a release has shipped its format: it stands for what operators have.
`record.py` made it, and is changed only together with the format.
"""
