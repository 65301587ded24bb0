"""Datasets in and out, without torch: conversion, checks and the generated demo set."""

from mlla.data.demo import write_demo
from mlla.data.errors import DataError

__all__ = ["DataError", "write_demo"]
