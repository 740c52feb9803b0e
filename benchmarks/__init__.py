"""The kernel beside the machine's limit and beside peers: `python -m benchmarks`, explained in benchmarks/README.md."""
