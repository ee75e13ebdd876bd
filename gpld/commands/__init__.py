"""Commands of users, one module for each script."""
