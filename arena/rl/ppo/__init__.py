"""What PPO needs beside RLlib, in plain torch: rollouts, advantages, moments of observations."""
