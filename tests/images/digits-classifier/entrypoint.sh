#!/bin/sh
[ -z "$_abaco_request_fd" ] || exec python3 /opt/digits/serve.py
exec python3 /opt/digits/classify_image.py --image_file="$MSG"
