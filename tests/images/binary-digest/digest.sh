#!/bin/sh
set -eu
data=/_abaco_binary_data
sum=$(sha256sum "$data")
echo "$(stat -c '%s' "$data") ${sum%% *}"
