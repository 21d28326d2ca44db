"""What the scheduler is told: when a night begins and ends, who goes first, how much may run at once."""
