#!/bin/sh
# An agent of a team, in forty lines of shell: it joins a session, takes the letters in its mailbox,
# and answers each task with the number of words in it. It uses mkdir, mv and sed, and no library.
#
#   examples/clerk.sh MAILBOXES/SESSION        (Ctrl-C to leave)
set -eu
umask 077
session=${1:?usage: clerk.sh MAILBOXES/SESSION}
home=$session/clerk
trap 'rm -r "$home"; exit 0' INT TERM

# Join: build the mailbox under a hidden name, then rename it, so that nobody sees half of it.
made=$session/.clerk.$$
for folder in tmp new cur done bad; do mkdir -p "$made/$folder"; done
printf '{"name":"clerk","kind":"external","description":"counts words"}\n' >"$made/agent.json"
[ -d "$home" ] && rm -r "$made" || mv "$made" "$home"
echo "clerk: waiting for letters in $home/new" >&2

field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$2" | head -n 1; }

while :; do
  for letter in "$home"/new/*.json; do
    [ -e "$letter" ] || continue
    name=$(basename "$letter")
    mv "$letter" "$home/cur/$name" # claimed: the sender sees it
    task=$(field task_id "$home/cur/$name")
    to=$(field from "$home/cur/$name")
    words=$(sed -n 's/.*"content": *"\(.*\)/\1/p' "$home/cur/$name" | sed 's/","[a-z_]*":.*//' | wc -w)
    if [ -n "$task" ] && [ -d "$session/$to" ]; then
      # Answer: write in tmp/, then move into new/ without overwriting. The name is free to choose.
      reply=clerk-$(date +%s)-$$.json
      printf '{"to":"%s","task_id":"%s","content":"I count %d words in your task."}\n' \
        "$to" "$task" "$words" >"$session/$to/tmp/$reply"
      sync
      mv -n "$session/$to/tmp/$reply" "$session/$to/new/$reply"
      echo "clerk: answered task $task of $to" >&2
    fi
    mv "$home/cur/$name" "$home/done/$name" # consumed
  done
  sleep 1
done
