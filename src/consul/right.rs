//! The ACL rights that requests need, in the words of the policy that grants them
//! (`docs/consul-policy.hcl`).

/// What a token must allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// To describe the agent.
    AgentRead,
    /// To create and renew sessions of the agent's own node.
    SessionWrite,
    /// To describe any session.
    SessionRead,
    KeyRead(String),
    KeyWrite(String),
}

impl Right {
    /// The policy's line, on one line. `node` is the Consul name of the agent that was asked, as
    /// far as it is known.
    pub fn policy(&self, node: Option<&str>) -> String {
        let node = node.unwrap_or("<the agent's node name>");
        match self {
            Self::AgentRead => format!("agent \"{node}\" {{ policy = \"read\" }}"),
            Self::SessionWrite => format!("session \"{node}\" {{ policy = \"write\" }}"),
            Self::SessionRead => "session_prefix \"\" { policy = \"read\" }".to_owned(),
            // Who may not read an entry of ours lacks the same line as who may not write it.
            Self::KeyRead(key) | Self::KeyWrite(key) => match folder(key) {
                Some(folder) => format!("key_prefix \"{folder}\" {{ policy = \"write\" }}"),
                None => format!("key \"{key}\" {{ policy = \"write\" }}"),
            },
        }
    }
}

/// Entries two levels down (`kuutamod-nodes/<account>/<node>`) are granted by their folder.
fn folder(key: &str) -> Option<&str> {
    let second = key.match_indices('/').nth(1)?.0;
    Some(&key[..=second])
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = include_str!("../../docs/consul-policy.hcl");

    /// What is recommended when a right is missing is what the documented policy says.
    #[test]
    fn every_line_stands_in_the_documented_policy() {
        let documented = POLICY.split_whitespace().collect::<Vec<_>>().join(" ");
        for right in [
            Right::AgentRead,
            Right::SessionWrite,
            Right::KeyWrite("kuutamod-leader/validator.near".to_owned()),
            Right::KeyRead("kuutamod-leader/validator.near".to_owned()),
            Right::KeyWrite("kuutamod-nodes/validator.near/node".to_owned()),
            Right::KeyRead("kuutamod-nodes/validator.near/".to_owned()),
            Right::KeyWrite("kuutamod-history/validator.near/1".to_owned()),
            Right::KeyWrite("kuutamod-pause/validator.near".to_owned()),
        ] {
            let line = right.policy(Some("host-a"));
            assert!(documented.contains(&line), "{line} is not in:\n{documented}");
        }
    }

    #[test]
    fn an_agent_without_a_known_name_is_described() {
        let line = Right::SessionWrite.policy(None);
        assert_eq!(line, "session \"<the agent's node name>\" { policy = \"write\" }");
    }
}
