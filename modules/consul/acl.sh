# Writes the policies of $1 into Consul, and for each whose token is among the credentials that token.
# Tokens go through standard input and files: arguments can be seen by all.
# shellcheck shell=bash
set -euo pipefail
policies=$1
api=http://127.0.0.1:8500/v1

ask() {
  curl --silent --show-error --fail-with-body --max-time 10 \
    --header @<(printf 'X-Consul-Token: %s' "$(<"$CREDENTIALS_DIRECTORY/management")") "$@"
}

until [ "$(ask "$api/status/leader" || true)" != "" ] && ask "$api/acl/policies" >/dev/null; do
  sleep 1
done

jq -c '.[]' "$policies" | while read -r policy; do
  name=$(jq -r .Name <<<"$policy")
  id=$(ask "$api/acl/policies" | jq -r --arg name "$name" '.[] | select(.Name == $name).ID')
  ask --output /dev/null --request PUT --data @- "$api/acl/policy${id:+/$id}" <<<"$policy"
  if [ -n "$id" ]; then echo "policy $name brought up to date"; else echo "policy $name made"; fi

  file=$CREDENTIALS_DIRECTORY/$name
  [ -e "$file" ] || continue
  token=$(jq -n --rawfile secret "$file" --arg name "$name" \
    '{SecretID: ($secret | rtrimstr("\n")), Description: $name, Policies: [{Name: $name}]}')
  known=$(ask "$api/acl/tokens" | jq -r --arg name "$name" '.[] | select(.Description == $name).AccessorID')
  # A token cannot be given another secret: one that has been replaced is made anew.
  for accessor in $known; do
    if ask "$api/acl/token/$accessor" |
      jq -e --rawfile secret "$file" '.SecretID == ($secret | rtrimstr("\n"))' >/dev/null; then
      continue 2
    fi
    ask --output /dev/null --request DELETE "$api/acl/token/$accessor"
  done
  ask --output /dev/null --request PUT --data @- "$api/acl/token" <<<"$token"
  echo "token for $name made"
done
