//! Packets that a host loses, by nftables inside its namespace.

use std::{io::Write, process::Stdio};

use crate::{
    plan::Way,
    support::{
        binaries,
        netns::{NetNs, Wire},
    },
};

/// A table of its own for each fault: faults that overlap heal each for itself.
pub struct Cut {
    host: NetNs,
    table: String,
}

impl Cut {
    pub fn make(host: &NetNs, number: usize, wires: &[Wire], way: Way) -> Self {
        let table = format!("fault{number}");
        let lossy = match way {
            Way::Lossy(percent) => format!("numgen random mod 100 < {percent} "),
            _ => String::new(),
        };
        let mut rules = format!("table inet {table} {{\n");
        for (hook, device, cut) in [
            ("input", "iifname", !matches!(way, Way::Out)),
            ("output", "oifname", !matches!(way, Way::In)),
        ] {
            if cut {
                rules += &format!("chain {hook} {{ type filter hook {hook} priority 0;\n");
                for wire in wires {
                    rules += &format!("{device} \"{}\" {lossy}drop\n", wire.name());
                }
                rules += "}\n";
            }
        }
        rules += "}\n";
        let cut = Self { host: host.clone(), table };
        cut.nft(&rules);
        cut
    }

    pub fn heal(self) {
        self.nft(&format!("delete table inet {}\n", self.table));
    }

    fn nft(&self, script: &str) {
        self.host.run(|| {
            let mut command = binaries::clean("nft");
            command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
            let mut nft = command.spawn().unwrap_or_else(|e| panic!("nft: {e}; install nftables"));
            nft.stdin.take().expect("piped").write_all(script.as_bytes()).expect("nft reads");
            let output = nft.wait_with_output().expect("nft ends");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "nft: {}\n{script}", error.trim());
        });
    }
}
