"""Several seeds in one program, several devices, several hosts."""
