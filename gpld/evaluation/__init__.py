"""Episodes with a trained agent, their videos, and predictions of its world model."""
