"""What the machine is: its set-up, its speed, and what a run needs from it."""
