# Makes neard's home where there is none, and merges the settings of the NixOS configuration into its
# config.json. Runs before each start, as neard's user; what is there already stays.
# shellcheck shell=bash
set -euo pipefail
cd "$NEARD_HOME"

say() {
  echo "neard-setup: $*" >&2
}

die() {
  say "$@"
  exit 1
}

# A link counts although its target may be away: kneard's keys are there only while it runs.
there() {
  [ -e "$1" ] || [ -L "$1" ]
}

missing() {
  there config.json || echo config.json
  there genesis.json || echo genesis.json
  if [ "$NEARD_GENERATE_NODE_KEY" = true ]; then
    there node_key.json || echo node_key.json
  fi
}

# In a directory of its own: an init that failed leaves nothing, and a key for a validator that
# `neard init` may make is not wanted.
make_files() {
  local files flags
  mapfile -t files < <(missing)
  [ ${#files[@]} -gt 0 ] || return 0
  [ -n "$NEARD_INIT_FLAGS" ] ||
    die "$NEARD_HOME has no ${files[*]}: set kuutamo.neard.chainId, or put a home there that neard init made"
  read -ra flags <<<"$NEARD_INIT_FLAGS"
  say "making ${files[*]}: neard init ${flags[*]}"
  rm -rf .init
  mkdir .init
  neard --home "$NEARD_HOME/.init" init "${flags[@]}" || die "neard init failed; it is tried again"
  local file
  for file in "${files[@]}"; do
    [ -s ".init/$file" ] || die "neard init made no $file"
    mv ".init/$file" "$file"
  done
  rm -rf .init
}

link_genesis() {
  [ -n "${NEARD_GENESIS_FILE:-}" ] || return 0
  # By rename, so that there always is one.
  ln -sfn "$NEARD_GENESIS_FILE" .genesis.json
  mv -T .genesis.json genesis.json
}

# Later ones win: what is there, the file, the settings. The older names of the choice of shards must
# go when the new one is given, since neard refuses both.
merge_settings() {
  local now new=.config.json.new
  if ! now=$(jq -S . config.json 2>/dev/null); then
    say "config.json is no plain JSON (comments?): left as it is, kuutamo.neard.settings are not in it"
    return 0
  fi
  # shellcheck disable=SC2016 # $names are jq's
  jq -n --slurpfile now config.json --slurpfile file "${NEARD_CONFIG_FILE:-/dev/null}" \
    --slurpfile settings "$NEARD_SETTINGS" '
      (($file[0] // {}) * $settings[0]) as $ours
      | $now[0] * $ours
      # A choice of shards is replaced, not merged.
      | if $ours | has("tracked_shards_config") then
          .tracked_shards_config = $ours.tracked_shards_config
          | del(.tracked_shards, .tracked_accounts, .tracked_shadow_validator, .tracked_shard_schedule)
        else . end' >"$new"
  if [ "$now" = "$(jq -S . "$new")" ]; then
    rm "$new"
    return 0
  fi
  chmod --reference=config.json "$new"
  sync "$new"
  mv "$new" config.json
  say "config.json: settings merged"
}

# An interrupted one goes on where the command can.
fill_data() {
  [ -n "${NEARD_BOOTSTRAP:-}" ] || return 0
  [ ! -e data ] || [ -e .bootstrap-running ] || return 0
  say "getting the chain's data"
  touch .bootstrap-running
  "$NEARD_BOOTSTRAP" || die "the data could not be had; it is tried again"
  [ -d data ] || die "the bootstrap command made no $NEARD_HOME/data"
  rm .bootstrap-running
}

link_genesis
make_files
there node_key.json ||
  die "$NEARD_HOME has no node_key.json: put one there, or set kuutamo.neard.generateNodeKey = true"
merge_settings
fill_data
