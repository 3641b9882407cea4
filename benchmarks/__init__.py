"""What aiotq costs, measured beside bare redis-py in the same run: `make bench`, or `python -m benchmarks run`."""
