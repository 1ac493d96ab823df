"""From what a user gives to a plan that can be played."""
