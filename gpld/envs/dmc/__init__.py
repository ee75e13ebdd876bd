"""DeepMind Control on dm_control: environments, their states, their pictures."""
