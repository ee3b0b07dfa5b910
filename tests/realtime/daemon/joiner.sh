# An agent that is a shell script: sh, mv and printf, nothing else of ours.
# It holds every letter until there is a file `go` beside its boxes.
# usage: sh joiner.sh MAILBOX_OF_SESSION NAME
set -eu
room=$1 me=$2
cd "$room"
for box in tmp new cur done bad; do mkdir -p "$me/$box"; done
printf '{"name":"%s","kind":"external","description":"counts"}' "$me" >"$me/agent.json.part"
mv "$me/agent.json.part" "$me/agent.json"
while :; do
    for letter in "$me"/new/*.json; do
        [ -e "$letter" ] || continue
        file=${letter##*/}
        mv "$letter" "$me/cur/$file"
        read -r text <"$me/cur/$file" || :
        until [ -e "$me/go" ]; do sleep 0.05; done
        task=${text#*\"task_id\":\"}
        task=${task%%\"*}
        printf '{"to":"principal","content":"counted: forty-two","task_id":"%s"}' "$task" \
            >"principal/tmp/$me-$file"
        mv "principal/tmp/$me-$file" "principal/new/$me-$file"
        mv "$me/cur/$file" "$me/done/$file"
    done
    sleep 0.1
done
