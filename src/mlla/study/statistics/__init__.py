"""Differences between arms, how sure one can be of them, and what they allow one to say."""
