"""Analysis of runs: scores, statistics, curves, tables, pictures and pages."""
