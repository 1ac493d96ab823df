"""PPO in plain torch: rollouts, advantages, loss."""
