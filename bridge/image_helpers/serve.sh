#!/bin/sh
# Takes message after message in one process (Abaco Bridge, reuse=process); copy and change it.
# The image has the label org.abaco-bridge.reuse=process.
words=$(wc -w < /usr/share/dict/words)  # what takes long, once

handle() { # with the variables of one message, in a subshell of its own
  printf 'I know %s words; you said: %s\n' "$words" "$MSG"
}

[ -n "$_abaco_request_fd" ] || { handle; exit; } # a container for one message alone
unset _abaco_request_fd _abaco_reply_fd
echo 'ready sh' >&5
while read -r id <&4; do
  # shellcheck disable=SC1091  # made for each message
  (. /_abaco_message.sh && handle) 4<&- 5>&-
  echo "done $id $?" >&5
done
