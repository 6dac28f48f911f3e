"""The decoding loop: texts edited while they are written. Import from the modules; this package imports no torch."""
