"""The market and the policies as RLlib knows them."""
