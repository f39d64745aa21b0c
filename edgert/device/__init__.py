"""What this machine is: processor, cores, memory. Nothing here decides what to do with it."""
