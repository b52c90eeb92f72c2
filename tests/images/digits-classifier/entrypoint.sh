#!/bin/sh
exec python3 /opt/digits/classify_image.py --image_file="$MSG"
