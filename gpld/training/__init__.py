"""The training loop: advance, evaluate, report, log, save."""
