"""What every call passes, outermost first: intake, trace, errors, limits, deadline, delivery, decode.

Only our own unary methods are wrapped; health and reflection answer as they are, also while calls are refused. Intake
bounds the requests of health, too.
"""
