#!/bin/sh
# A whole external agent: it joins a session, takes every task it is given, answers it, and stops
# when its mailbox is empty. It needs nothing but a shell.
#
#   sh echo-agent.sh <mailbox root>/<session>
set -eu
session=$1
me=$session/echo-bot

if [ ! -d "$me" ]; then # join: build the mailbox out of sight, then let it appear whole
    umask 077
    build=$session/.echo-bot-$$
    mkdir -p "$build/tmp" "$build/new" "$build/cur" "$build/done" "$build/bad"
    printf '{"name":"echo-bot","kind":"external","description":"Repeats what it is given."}\n' \
        >"$build/agent.json"
    mv "$build" "$me"
fi

field() { # the daemon writes a letter on one line; with jq at hand: jq -r ".$1 // empty" "$2"
    sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' "$2"
}

for letter in "$me"/new/*.json; do
    [ -e "$letter" ] || continue
    name=${letter##*/}
    mv "$letter" "$me/cur/$name" # claimed: the sender sees it
    task=$(field task_id "$me/cur/$name")
    if [ -n "$task" ]; then # anything else needs no answer
        asker=$session/$(field from "$me/cur/$name")
        answer=echo-$name
        printf '{"to":"%s","task_id":"%s","content":"I was asked, and this is my answer."}\n' \
            "${asker##*/}" "$task" >"$asker/tmp/$answer"
        mv -n "$asker/tmp/$answer" "$asker/new/$answer"
    fi
    mv "$me/cur/$name" "$me/done/$name" # consumed
done
