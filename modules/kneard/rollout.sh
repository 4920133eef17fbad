# Brings a running kneard to the configuration that a switch has activated. $1 lists, one a line, a
# unit and what it is made of; what was applied last is kept in the runtime directory.
# shellcheck shell=bash
set -euo pipefail
wanted=$1
applied=$RUNTIME_DIRECTORY/applied
ready=120
deadline=$((SECONDS + KNEARD_ROLLOUT_SECONDS))

say() {
  echo "kneard-rollout: $*" >&2
}

die() {
  say "$@"
  say "then: systemctl restart kneard-rollout.service"
  exit 1
}

state() {
  kneard-ctl --json status 2>/dev/null | jq -r .node.state 2>/dev/null || true
}

in_time() {
  [ "$SECONDS" -lt "$deadline" ]
}

finish() {
  cp "$wanted" "$applied.new"
  mv "$applied.new" "$applied"
  exit 0
}

# At boot all was started from what is wanted now.
[ -e "$applied" ] || finish
mapfile -t changed < <(grep -vxFf "$applied" "$wanted" | cut -d ' ' -f 1 | sort -u)
[ ${#changed[@]} -gt 0 ] || finish
has_changed() {
  printf '%s\n' "${changed[@]}" | grep -qxF "$1"
}
say "changed: ${changed[*]}"

# Restarted by hand since this configuration came: all there is to do, unless more than kneard changed.
pending=$RUNTIME_DIRECTORY/pending
started=$(systemctl show --timestamp=unix -p ExecMainStartTimestamp --value kneard.service)
if [ "$(cat "$pending" 2>/dev/null)" = "$wanted" ]; then
  if [ "$(stat -c %Y "$pending")" -lt "${started#@}" ] &&
    ! printf '%s\n' "${changed[@]}" | grep -qvE '^(kneard|neard-setup)\.service$'; then
    say "kneard has been restarted already"
    finish
  fi
else
  echo "$wanted" >"$pending"
fi

if ! systemctl --quiet is-active kneard.service; then
  # Stopped by somebody, who will start it.
  ! has_changed consul.service || systemctl restart consul.service
  say "kneard does not run here: nothing else to do"
  finish
fi

# A switchover changes nothing unless a standby is ready, and answers why.
while [ "$(state)" = Validating ]; do
  if why=$(kneard-ctl switchover --wait 2>&1); then
    say "$why"
    break
  fi
  in_time || die "no other host could take the validator key, so this one goes on with its old configuration: $why"
  sleep 5
done

! has_changed consul.service || systemctl restart consul.service
if has_changed kneard.socket || has_changed kneard-exporter.socket; then
  # systemd changes a socket only while its service is down.
  systemctl stop kneard.service
  systemctl restart kneard.socket kneard-exporter.socket
fi
systemctl restart kneard.service

# Until then the next host must not be touched.
deadline=$((SECONDS + (KNEARD_ROLLOUT_SECONDS > ready ? KNEARD_ROLLOUT_SECONDS : ready)))
until [[ "$(state)" =~ ^(Voting|Validating)$ ]]; do
  in_time || die "kneard has the new configuration but does not stand by yet (state: $(state)): see kneard-ctl status"
  sleep 1
done
say "done: $(state)"
finish
