# What a kneard needs of Consul with default_policy = "deny". Replace
#   host-a          by the node name of the Consul agent that this kneard talks to;
#                   one stanza "session" and one "agent" for each agent in --consul-url
#   validator.near  by the account of the validator
# `kneard-ctl doctor --policy` prints it with the names of this node filled in.

# The sessions that locks belong to.
session "host-a" {
  policy = "write"
}

# The agent's name and version, for the log and for doctor.
agent "host-a" {
  policy = "read"
}

# The election.
key "kuutamod-leader/validator.near" {
  policy = "write"
}

# What each node publishes of itself.
key_prefix "kuutamod-nodes/validator.near/" {
  policy = "write"
}

# The changes of the holder.
key_prefix "kuutamod-history/validator.near/" {
  policy = "write"
}

# Whether takeovers are paused.
key "kuutamod-pause/validator.near" {
  policy = "write"
}
