#!/bin/bash
# The requests of abaco-cli, word for word as its commands send them (clients.md has none of its
# permissions command: that one goes to a fixed host), and its way of reading the answers: by jq, the
# HTTP status ignored.
#
# Needs: curl, jq; URL, TOKEN, ADMIN_TOKEN, IMAGE (of `wc`).
set -euo pipefail
base=$URL/actors/v2

ask() { curl -sk -H "Authorization: Bearer $TOKEN" "$@"; }
json() { ask -H "Content-Type: application/json" "$@"; }

is() { # what, found, expected
    [ "$2" = "$3" ] || { echo "$1: expected '$3', got '$2'" >&2; exit 1; }
    echo "ok: $1"
}

await() { # seconds, wanted, command...: until it prints what is wanted
    local last=$((SECONDS + $1)) wanted=$2 found
    shift 2
    while found=$("$@") && [ "$found" != "$wanted" ]; do
        [ "$SECONDS" -lt "$last" ] || { echo "waited for $wanted, still $found: $*" >&2; exit 1; }
        sleep 0.5
    done
}

# abaco create -n cli-words -e A=1 IMAGE
answer=$(json -X POST --data "{\"image\":\"$IMAGE\", \"name\":\"cli-words\", \"privileged\":false, \"stateless\":true, \"force\":false, \"useContainerUid\":false, \"defaultEnvironment\":{\"A\": \"1\"}, \"token\":false}" "$base")
is create "$(jq -r '.result | .name' <<<"$answer")" cli-words
actor=$(jq -r '.result | .id' <<<"$answer")

# abaco list, abaco list ID
status() { ask "$base/$actor" | jq -r .result.status; }
await 60 READY status
is list "$(ask "$base" | jq -r ".result | .[] | [.name, .id, .status] | \"\(.[0]) \(.[1]) \(.[2])\"" |
    grep "$actor")" "cli-words $actor READY"

# abaco update ID IMAGE
is "list -v" "$(ask "$base/$actor" | jq -r .result.stateless)" true
is update "$(json -X PUT --data "{\"image\":\"$IMAGE\", \"privileged\":false, \"stateless\":true, \"force\":false, \"useContainerUid\":false, \"defaultEnvironment\":{}, \"token\":false}" "$base/$actor" |
    jq -r '.result | [.name, .id] | "\(.[0]) \(.[1])"')" "cli-words $actor"

# abaco submit -m 'two words' ID; the URL ends in a bare question mark
answer=$(ask -XPOST --data-urlencode "message=two words" "$base/$actor/messages?" | jq -r .result)
is "submit: msg" "$(jq -r .msg <<<"$answer")" "two words"
execution=$(jq -r .executionId <<<"$answer")

# abaco executions ID EID, abaco executions ID, abaco logs ID EID
ended() { ask "$base/$actor/executions/$execution" | jq -r '.result | .status'; }
await 60 COMPLETE ended
worker=$(ask "$base/$actor/executions/$execution" | jq -r '.result | .workerId')
[ -n "$worker" ] && [ "$worker" != null ]
is executions "$(ask "$base/$actor/executions" |
    jq -r '.result | .executions | .[] | [.id, .status] | "\(.[0]) \(.[1])"')" "$execution COMPLETE"
is logs "$(ask "$base/$actor/executions/$execution/logs" | jq -r '.result | .logs' | tr -d ' ')" 2

# abaco submit -x: a message that jq takes for JSON goes as JSON, and the answer is the log
is "submit -x" "$(json -XPOST -d '{"a": [1, 2]}' "$base/$actor/messages?&_abaco_synchronous=true" |
    tr -d ' ')" 3

# abaco messages ID, abaco messages ID -X
is messages "$(ask -XGET "$base/$actor/messages" | jq -r .result.messages)" 0
is "messages -X" "$(ask -XDELETE "$base/$actor/messages" | jq -r .result.msg)" \
    "Actor mailbox purged."

# abaco nonces create, list, delete; abaco submit -Z: no Authorization at all
answer=$(json -XPOST --data '{"maxUses":"3", "level":"EXECUTE", "description":"for the cli"}' "$base/$actor/nonces")
nonce=$(jq -r '.result | .id' <<<"$answer")
is "nonces create" "$(jq -r '.result | [.maxUses, .remainingUses, .level] | "\(.[0]) \(.[1]) \(.[2])"' <<<"$answer")" "3 3 EXECUTE"
execution=$(curl -sk -XPOST --data-urlencode "message=by nonce" "$base/$actor/messages?&x-nonce=$nonce" |
    jq -r .result.executionId)
await 60 COMPLETE ended
is "nonces list" "$(ask "$base/$actor/nonces" |
    jq -r '.result | .[] | [.id, .actorId, .description] | "\(.[0]) \(.[1]) \(.[2])"')" "$nonce $actor for the cli"
used=$(ask "$base/$actor/nonces/$nonce" | jq -r '.result | .lastUseTime')
[ "$used" != None ] && [ "$used" != null ]
is "nonces delete" "$(ask -XDELETE "$base/$actor/nonces/$nonce" | jq -r .message)" \
    "Actor nonce deleted successfully."

# abaco aliases create ID A (which first sees that A is free), ls, rm
alias=cli-$actor
is "aliases: free" "$(ask "$base/aliases/$alias" | jq -r .result)" null
is "aliases create" "$(json -XPOST --data "{\"actorId\":\"$actor\", \"alias\":\"$alias\"}" "$base/aliases" |
    jq -r '.result | [.alias, .actorId] | "\(.[0]) \(.[1])"')" "$alias $actor"
is "aliases ls" "$(ask "$base/aliases" | jq -r '.result | .[] | [.alias, .actorId] | "\(.[0]) \(.[1])"' |
    grep "^$alias ")" "$alias $actor"
is "aliases rm" "$(ask -X DELETE "$base/aliases/$alias" | jq -r .message)" \
    "Alias $alias deleted successfully."

# abaco permissions ID -u U -p L, abaco permissions ID
is "permissions -u" "$(json -X POST --data '{"user": "bob", "level": "READ"}' "$base/$actor/permissions" |
    jq -r '.result | to_entries[] | [.key, .value] | "\(.[0]) \(.[1])"' | sort | tr '\n' ';')" \
    "alice UPDATE;bob READ;"

# abaco workers ID -n 1 (an administrator), abaco workers ID, abaco workers ID -w W
TOKEN=$ADMIN_TOKEN ask -X POST -d 'num=1' "$base/$actor/workers" | jq -r .message | grep -q worker
workers() { ask "$base/$actor/workers" | jq -r '.result | length'; }
await 60 1 workers
worker=$(ask "$base/$actor/workers" | jq -r '.result | .[] | .id')
is "workers -w" "$(ask "$base/$actor/workers/$worker" | jq -r '.result.id')" "$worker"

# abaco version, abaco delete ID
[ "$(ask "$base?limit=1" | jq -r .version)" != null ]
is delete "$(ask -X DELETE "$base/$actor" | jq -r .message | cut -c 1-26)" "Actor deleted successfully"
