"""Guests that are kept up to date by apt: Debian, Ubuntu and their kin."""
