"""Classify picture after picture in one process: what takes long is loaded once."""

import os

import abaco_process
from classify_image import load_model, show_digits

load_model()
abaco_process.serve(lambda: show_digits(os.environ["MSG"]))
