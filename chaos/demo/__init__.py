"""The demonstration: a shop in three regions, its cluster, and a bad minute. Ends by itself, with a verdict.

Exists so that somebody who has never seen the project sees it keep its promises, and so that a machine can ask the
same question. Uses the cluster like any customer: through the public client, over lines as long as real ones. Must not
know anything inside a node; what it claims rests on the recorded history and on what the nodes hold at the end.
"""
