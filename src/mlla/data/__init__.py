"""Datasets in and out, without torch: conversion, checks and the generated demo set."""

from mlla.data.check import check_dataset, check_images
from mlla.data.convert import FORMATS, convert
from mlla.data.demo import write_demo
from mlla.data.errors import DataError
from mlla.data.report import Kind, Problem, Report, SplitCounts

__all__ = [
    "FORMATS",
    "DataError",
    "Kind",
    "Problem",
    "Report",
    "SplitCounts",
    "check_dataset",
    "check_images",
    "convert",
    "write_demo",
]
