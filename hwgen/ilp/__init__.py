"""Optimisation problems in plain numbers, solved by OR-Tools CP-SAT. The only place that imports a solver."""
