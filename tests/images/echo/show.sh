#!/bin/sh
printf 'Contents of MSG: %s\n' "$MSG"
env
ls /
