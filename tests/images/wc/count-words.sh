#!/bin/sh
printf '%s' "$MSG" | wc -w
