"""Pools and the planner."""
