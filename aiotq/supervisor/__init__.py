"""Several worker processes under one command: starts them, replaces those that end, and hands back what they held."""
