"""Pixels and images: files, color, size, regions. No network here."""
