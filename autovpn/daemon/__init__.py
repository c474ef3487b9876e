"""The daemon: it waits, looks, decides and acts. It may use every layer, and only `wiring` and `cli` use it."""
