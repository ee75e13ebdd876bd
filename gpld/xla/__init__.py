"""Compilation of programs: flags, caching, rewriting, precision of products.

Nothing here changes what is computed beyond rounding. Importing the package loads no JAX.
"""
