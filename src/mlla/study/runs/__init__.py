"""Trainings: a folder and a process each, on this machine or others."""
