"""Training on the device: environments, replay and updates as one compiled program."""
