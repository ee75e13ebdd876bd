"""The programs in `scripts/`: each reads its arguments, does its work, and reports."""
