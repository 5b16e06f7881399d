"""Saliency methods held against each other where it is known what they should point at: the box of clutter's digit."""
