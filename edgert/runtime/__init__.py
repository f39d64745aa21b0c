"""Sessions: a plan given memory and threads, and run. Deciding what runs is edgert/plan."""
