"""The parts of bench_frontier.py: peers, their environments and programs, runs, table and plot."""
