"""The contacts with the machine: one module for each."""
