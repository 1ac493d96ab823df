"""Tables, charts and pages. Nothing is computed here that a ranking depends on."""
