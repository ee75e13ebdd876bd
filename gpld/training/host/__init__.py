"""Training on the host: collect env steps, then learn from replay."""
