"""What every call passes, outermost first: trace, errors, limits, deadline, decode.

Only our own unary methods are wrapped; health and reflection answer as they are, also while calls are refused.
"""
