"""Several environments stepped at once: in processes, threads or one compiled program."""
