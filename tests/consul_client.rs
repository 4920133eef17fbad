//! The Consul client against a real Consul.
mod support;

use support::consul::Consul;

#[test]
fn three_servers_elect_a_leader_and_outlive_its_death() {
    let mut consul = Consul::cluster(3);
    let first = consul.leader().expect("a leader");
    consul.server(first).kill();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while consul.leader().is_none_or(|leader| leader == first) {
        assert!(std::time::Instant::now() < deadline, "no second leader");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    consul.server(first).restart();
    consul.wait_ready(None);
}
