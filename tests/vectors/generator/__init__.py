"""Makes the packet vectors. See ../README.md."""
