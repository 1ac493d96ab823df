"""How good a forecaster is, and how the embedded one is trained."""
