//! What `kneard release` needs to know of a kneard that is dead.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::consul::{ClientConfig, Tls};
use crate::election::{InstanceId, SessionId};
use crate::neard::process::ProcessIdentity;

const NAME: &str = "kneard-lease.json";

/// Written whenever the session or neard's process changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuntimeFile {
    pub account_id: String,
    pub instance: InstanceId,
    pub session: Option<SessionId>,
    /// neard's process, dead or alive.
    pub neard: Option<NeardProcess>,
    pub consul_addresses: Vec<String>,
    pub consul_token_file: Option<PathBuf>,
    pub consul_ca_file: Option<PathBuf>,
    pub consul_cert_file: Option<PathBuf>,
    pub consul_key_file: Option<PathBuf>,
}

/// A pid is used again; together with its start time (clock ticks since boot, proc(5)) it is not.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct NeardProcess {
    pub pid: i32,
    pub start_time: u64,
}

impl From<ProcessIdentity> for NeardProcess {
    fn from(identity: ProcessIdentity) -> Self {
        NeardProcess { pid: identity.pid, start_time: identity.start_time }
    }
}

impl NeardProcess {
    pub fn is_alive(self) -> bool {
        self.identity().is_alive()
    }

    pub fn identity(self) -> ProcessIdentity {
        ProcessIdentity { pid: self.pid, start_time: self.start_time }
    }
}

impl RuntimeFile {
    pub fn path(dir: &Path) -> PathBuf {
        dir.join(NAME)
    }

    /// # Errors
    /// Not there, not readable, or not what [`RuntimeFile::write`] writes.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let text = std::fs::read(Self::path(dir))?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    }

    /// # Errors
    /// What the file system says. There is no file then: from an old one `kneard release` would
    /// take an earlier neard's death for the present one's.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        // Of no use after a reboot, and the disk may be busy while the lease has to be renewed.
        atomic_file::replace(&Self::path(dir), &text, 0o600).inspect_err(|_| Self::remove(dir))
    }

    pub fn remove(dir: &Path) {
        // Left behind, it names a session that is gone: harmless.
        let _ = std::fs::remove_file(Self::path(dir));
    }

    pub fn consul(&self) -> ClientConfig {
        ClientConfig {
            addresses: self.consul_addresses.clone(),
            token_file: self.consul_token_file.clone(),
            tls: Tls {
                ca_file: self.consul_ca_file.clone(),
                cert_file: self.consul_cert_file.clone(),
                key_file: self.consul_key_file.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> RuntimeFile {
        RuntimeFile {
            account_id: "account".to_owned(),
            instance: InstanceId("instance".to_owned()),
            session: None,
            neard: None,
            consul_addresses: Vec::new(),
            consul_token_file: None,
            consul_ca_file: None,
            consul_cert_file: None,
            consul_key_file: None,
        }
    }

    #[test]
    fn what_could_not_be_brought_up_to_date_is_not_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        file().write(dir.path()).unwrap();
        assert_eq!(RuntimeFile::read(dir.path()).unwrap().account_id, "account");
        // In the way of the new file, as a full disk would be.
        std::fs::create_dir(dir.path().join(format!(".{NAME}.new"))).unwrap();
        file().write(dir.path()).expect_err("nothing was in the way");
        RuntimeFile::read(dir.path()).expect_err("the old file is still there");
    }
}
