"""A hook manager that brings VPN tunnels up and down with the networks they belong to."""

__version__ = "0.1.0"
