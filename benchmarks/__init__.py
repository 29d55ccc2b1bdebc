"""Side by side with peers, and the proofs of what README claims."""
