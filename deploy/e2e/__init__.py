"""The end-to-end run on a real cluster: make e2e."""
