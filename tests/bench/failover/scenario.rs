//! What happens to the cluster, and how it is put right again.

use clap::ValueEnum;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::Cluster,
    support::{netns::Wire, operator::kneard_ctl, wait::secs},
};

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// `kneard-ctl switchover`
    Switchover,
    /// neard of the holder gets SIGKILL
    NeardDeath,
    /// kneard of the holder gets SIGKILL
    KneardDeath,
    /// The guard of the holder gets SIGKILL
    GuardDeath,
    /// kneard of the holder gets SIGSTOP
    Freeze,
    /// The holder's host loses power: all of it ends at one instant
    HostLoss,
    /// The holder's host is cut off from everyone
    Partition,
    /// The Consul server that leads gets SIGKILL
    LeaderLoss,
    /// The holder's own Consul agent gets SIGKILL
    AgentLoss,
}

impl Scenario {
    pub const ALL: [Self; 9] = [
        Self::Switchover,
        Self::NeardDeath,
        Self::KneardDeath,
        Self::GuardDeath,
        Self::Freeze,
        Self::HostLoss,
        Self::Partition,
        Self::LeaderLoss,
        Self::AgentLoss,
    ];

    /// As the flag takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Switchover => "switchover",
            Self::NeardDeath => "neard-death",
            Self::KneardDeath => "kneard-death",
            Self::GuardDeath => "guard-death",
            Self::Freeze => "freeze",
            Self::HostLoss => "host-loss",
            Self::Partition => "partition",
            Self::LeaderLoss => "leader-loss",
            Self::AgentLoss => "agent-loss",
        }
    }

    /// For readers.
    pub fn title(self) -> &'static str {
        match self {
            Self::Switchover => "planned switchover",
            Self::NeardDeath => "neard dies",
            Self::KneardDeath => "kneard dies",
            Self::GuardDeath => "the guard dies",
            Self::Freeze => "kneard is frozen",
            Self::HostLoss => "the host is lost",
            Self::Partition => "the host is cut off",
            Self::LeaderLoss => "Consul's leader is lost",
            Self::AgentLoss => "the local Consul agent is lost",
        }
    }

    /// Whether another node is to take the key.
    pub fn moves_the_key(self) -> bool {
        !matches!(self, Self::LeaderLoss | Self::AgentLoss)
    }

    /// Whether a process dies on a host that lives on.
    pub fn is_a_death(self) -> bool {
        matches!(self, Self::NeardDeath | Self::KneardDeath | Self::GuardDeath)
    }

    /// Whether nobody is told of the end, so that the lease has to run out.
    pub fn ends_a_lease(self) -> bool {
        matches!(self, Self::Freeze | Self::HostLoss | Self::Partition)
    }

    pub fn strike(self, cluster: &mut Cluster) {
        let holder = cluster.holder;
        let host = cluster.net_host(holder);
        let node = &mut cluster.nodes[holder];
        match self {
            Self::Switchover => {
                let ended = kneard_ctl(&node.kneard, &["switchover"]);
                assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            }
            Self::NeardDeath => node.kneard.neard().signal(Signal::SIGKILL),
            Self::KneardDeath => node.kneard.signal(Signal::SIGKILL),
            Self::GuardDeath => node.kneard.guard().signal(Signal::SIGKILL),
            Self::Freeze => node.kneard.signal(Signal::SIGSTOP),
            Self::HostLoss => {
                // At one instant, so that nothing acts on the death of another.
                let kneard = &node.kneard;
                let processes = [kneard.guard(), kneard.neard(), kneard.process.clone()];
                node.freezer.freeze(&processes).expect("the host stands still");
                for wire in Wire::ALL {
                    cluster.net.cut(host, wire);
                }
                for process in &processes {
                    process.signal(Signal::SIGKILL);
                }
                node.agent.kill();
                node.freezer.thaw().expect("the dead are let go");
            }
            Self::Partition => {
                for wire in Wire::ALL {
                    cluster.net.cut(host, wire);
                }
            }
            Self::LeaderLoss => {
                let leader = cluster.consul.leader().expect("Consul has a leader");
                cluster.consul.server(leader).kill();
            }
            Self::AgentLoss => node.agent.kill(),
        }
    }

    /// `struck` is the node that was the holder.
    pub fn heal(self, cluster: &mut Cluster, struck: usize) {
        let host = cluster.net_host(struck);
        let node = &mut cluster.nodes[struck];
        match self {
            Self::Switchover | Self::NeardDeath | Self::GuardDeath => {}
            Self::KneardDeath => {
                node.kneard.wait_exit(secs(5));
                node.start_again();
            }
            Self::Freeze => node.kneard.signal(Signal::SIGCONT),
            Self::HostLoss => {
                node.kneard.wait_exit(secs(5));
                for wire in Wire::ALL {
                    cluster.net.heal(host, wire);
                }
                node.agent.restart();
                node.start_again();
            }
            Self::Partition => {
                for wire in Wire::ALL {
                    cluster.net.heal(host, wire);
                }
            }
            Self::LeaderLoss => {
                let servers = 0..cluster.consul.servers().len();
                for server in servers {
                    if !cluster.consul.servers()[server].is_running() {
                        cluster.consul.server(server).restart();
                    }
                }
            }
            Self::AgentLoss => node.agent.restart(),
        }
    }
}
