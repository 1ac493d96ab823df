"""The rules of the market on tensors [B, N, A]; torch only."""
