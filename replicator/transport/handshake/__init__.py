"""Who a peer is and whether it may be linked: pure verdicts and proofs."""
