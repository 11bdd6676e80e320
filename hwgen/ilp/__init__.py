"""Optimisation problems in plain numbers, solved by OR-Tools. The only place that imports a solver."""
