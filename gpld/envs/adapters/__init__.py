"""Environments of others behind our `Environment`: Gymnasium's and dm_env's, one file for each."""
