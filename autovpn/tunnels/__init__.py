"""The tunnel drivers: pure machines, one per type, that never touch the system."""
