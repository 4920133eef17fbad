//! Which nodes can take the key in a switchover.

use super::NodeReport;
use crate::election::State;

/// The standbys that can take the key from the node `own` (`to`: only that one counts).
///
/// # Errors
/// There is none, and why; or the nodes cannot be told apart.
pub fn eligible(
    nodes: &[NodeReport],
    own: &str,
    to: Option<&str>,
    max_lag: u64,
) -> Result<Vec<String>, String> {
    for (index, node) in nodes.iter().enumerate() {
        if let Some(twin) = nodes[..index].iter().find(|twin| twin.node_id == node.node_id) {
            return Err(format!(
                "two nodes have the node id {:?}, on {} and on {}: give each node its own \
                 --node-id",
                node.node_id, twin.hostname, node.hostname
            ));
        }
    }
    if to == Some(own) {
        return Err(format!("{own} holds the validator key already"));
    }
    let others: Vec<_> = nodes
        .iter()
        .filter(|node| node.node_id != own && to.is_none_or(|to| node.node_id == to))
        .collect();
    if others.is_empty() {
        return Err(match to {
            Some(to) => {
                let known: Vec<_> = nodes.iter().map(|node| node.node_id.as_str()).collect();
                format!("there is no node {to:?}; the nodes are {}", known.join(", "))
            }
            None => "there is no standby: no other node is in Consul".to_owned(),
        });
    }
    let obstacles: Vec<_> = others.iter().filter_map(|node| obstacle(node, max_lag)).collect();
    let fit: Vec<_> = others
        .iter()
        .filter(|node| obstacle(node, max_lag).is_none())
        .map(|node| node.node_id.clone())
        .collect();
    if fit.is_empty() {
        Err(format!("no standby is ready: {}", obstacles.join("; ")))
    } else {
        Ok(fit)
    }
}

/// Why this node cannot take the key.
fn obstacle(node: &NodeReport, max_lag: u64) -> Option<String> {
    let name = &node.node_id;
    if node.state != State::Voting.to_string() {
        return Some(format!("{name} is {}, not {}", node.state, State::Voting));
    }
    match node.lag {
        None => Some(format!("{name} does not say how far its head lies behind")),
        Some(lag) if lag > max_lag => {
            Some(format!("{name} lies {lag} blocks behind, more than --max-lag {max_lag}"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, state: State, lag: Option<u64>) -> NodeReport {
        NodeReport {
            node_id: id.to_owned(),
            instance: format!("instance of {id}"),
            hostname: format!("host of {id}"),
            state: state.to_string(),
            lease_ms: 7_000,
            head: Some(1),
            lag,
            ..NodeReport::default()
        }
    }

    fn stage() -> Vec<NodeReport> {
        vec![
            node("a", State::Validating, None),
            node("b", State::Voting, Some(10)),
            node("c", State::Syncing, Some(0)),
            node("d", State::Voting, Some(11)),
        ]
    }

    #[test]
    fn those_in_sync_and_near_the_head_can_take_the_key() {
        assert_eq!(eligible(&stage(), "a", None, 10).unwrap(), ["b"]);
        assert_eq!(eligible(&stage(), "a", None, 11).unwrap(), ["b", "d"]);
        assert_eq!(eligible(&stage(), "a", Some("b"), 10).unwrap(), ["b"]);
    }

    #[test]
    fn the_reason_says_what_is_wrong_with_whom() {
        let why = |to, nodes: &[NodeReport]| eligible(nodes, "a", to, 10).unwrap_err();
        assert!(why(Some("c"), &stage()).contains("c is Syncing, not Voting"));
        assert!(
            why(Some("d"), &stage()).contains("d lies 11 blocks behind, more than --max-lag 10")
        );
        assert!(why(Some("a"), &stage()).contains("a holds the validator key already"));
        assert!(why(Some("x"), &stage()).contains("no node \"x\"; the nodes are a, b, c, d"));
        assert!(why(None, &stage()[..1]).contains("no other node is in Consul"));
        let why = why(None, &[stage()[2].clone(), stage()[3].clone()]);
        assert!(why.contains("c is Syncing") && why.contains("d lies 11"), "{why}");
    }

    #[test]
    fn nodes_that_cannot_be_told_apart_are_refused() {
        let mut nodes = stage();
        nodes.push(node("b", State::Syncing, None));
        assert!(
            eligible(&nodes, "a", None, 10).unwrap_err().contains("two nodes have the node id")
        );
    }
}
