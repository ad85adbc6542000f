"""Arms by seeds: what a study chooses, gathers and concludes."""
