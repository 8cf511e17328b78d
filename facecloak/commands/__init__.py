"""Commands that need only the facecloak package; heavy imports stay inside their bodies."""
