"""Tell the species of an iris from four measurements: two stages on the same engine."""
