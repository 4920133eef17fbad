//! neard's home directory: which keys lie in it, and the addresses in its `config.json`.
//!
//! Promise: a neard that is not to validate finds no validator key in its home. Keys enter the
//! home only as symlinks to the files that the operator configured, so removing one loses nothing.
//! A validator key that is in the home as a file of its own is removed only if the configured file
//! holds the same secret; otherwise kneard refuses to start neard. (Moving it aside would leave a
//! second copy of a key where nobody looks for it, deleting it might destroy the only one.) A node
//! key of the home's own, as `neard init` makes it, is renamed, since it is worth little but may
//! be wanted again.

mod links;
mod shutdown;

use super::config::{self, NeardConfig};
use super::home_lock::{self, HomeLock};
use super::hot_swap;
use super::keys::{KeyError, KeyFile, KeyKind};
use super::rpc::loopback_like;
use nix::unistd::{AccessFlags, access, fchown};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Pause between two attempts to lock a home that is in use.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What neard is to be when it is started next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows the chain without the validator key.
    Standby {
        /// The configured validator key; only to recognise a copy of it in the home.
        validator_key: PathBuf,
        /// `None`: the home keeps the node key that it has.
        node_key: Option<PathBuf>,
        network_addr: SocketAddr,
        /// As below, for a standby that is to be given the key while it runs.
        public_address: Option<IpAddr>,
    },
    /// Signs with the validator key.
    Validator {
        validator_key: PathBuf,
        /// `None`: the home keeps the node key that it has.
        node_key: Option<PathBuf>,
        network_addr: SocketAddr,
        /// Announced to the network with the node key and the port of `network_addr`.
        public_address: Option<IpAddr>,
    },
}

/// Why a home cannot be used. One line each, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("neard home {}: no such directory; run: neard --home {} init", home.display(), home.display())]
    Missing { home: PathBuf },
    #[error("neard home {}: not a directory", home.display())]
    NotADirectory { home: PathBuf },
    #[error("neard home {}: cannot be written: {source}; run kneard as its owner", home.display())]
    NotWritable { home: PathBuf, source: io::Error },
    #[error("{}: no such file; run: neard --home {} init", config.display(), home.display())]
    NoConfig { home: PathBuf, config: PathBuf },
    #[error("{} {why}", config.display())]
    Config { config: PathBuf, why: String },
    #[error(
        "neard home {}: in use by {}; stop it, or use another home", home.display(),
        if holders.is_empty() { "another process" } else { holders }
    )]
    Locked { home: PathBuf, holders: String },
    #[error(
        "{} is a validator key of its own, not the configured {}; kneard must be able to take the \
         key out of the home: move it to a safe place outside", in_home.display(), configured.display()
    )]
    ForeignKey { in_home: PathBuf, configured: PathBuf },
    #[error(
        "{kind} {} is the very file that neard reads, which kneard replaces; move it elsewhere",
        path.display()
    )]
    KeyInPlace { kind: KeyKind, path: PathBuf },
    #[error(
        "public address {address} is not public, and neard would refuse it; give another, or set \
         network.allow_private_ip_in_public_addrs in {}", config.display()
    )]
    PrivateAddress { address: IpAddr, config: PathBuf },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// A neard home that was found usable.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
    /// Held while `config.json` is read to be written.
    editing: Arc<Mutex<()>>,
}

impl Home {
    /// Checks that neard could be started here: a writable directory with a `config.json` that is
    /// an object with a `network`.
    ///
    /// # Errors
    /// See [`HomeError`]. Nothing is changed.
    pub fn open(home: &Path) -> Result<Self, HomeError> {
        let path = match fs::canonicalize(home) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(HomeError::Missing { home: home.to_owned() });
            }
            Err(source) => return Err(io_error("open", home)(source)),
        };
        if !path.is_dir() {
            return Err(HomeError::NotADirectory { home: path });
        }
        let home = Self { path, editing: Arc::default() };
        home.read_config()?;
        access(&home.path, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| {
            HomeError::NotWritable { home: home.path.clone(), source: errno.into() }
        })?;
        Ok(home)
    }

    /// Absolute, symlinks resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where neard answers RPC requests, as seen from this host: an unspecified address such as
    /// 0.0.0.0 is given as loopback. Read anew with each call.
    ///
    /// # Errors
    /// `config.json` is unusable, or has no `rpc`, without which kneard cannot watch neard.
    pub fn rpc_addr(&self) -> Result<SocketAddr, HomeError> {
        let (config, _) = self.read_config()?;
        let mut addr = config.rpc_addr.ok_or_else(|| {
            self.config_error(
                "has no object \"rpc\", which kneard needs; run neard init".to_owned(),
            )
        })?;
        if addr.ip().is_unspecified() {
            addr.set_ip(loopback_like(addr.ip()));
        }
        Ok(addr)
    }

    /// Makes this home ours, waiting at most `wait` for a predecessor, its guard and its neard to
    /// die.
    ///
    /// # Errors
    /// [`HomeError::Locked`], naming who holds it.
    pub async fn lock(&self, wait: Duration) -> Result<HomeLock, HomeError> {
        let until = tokio::time::Instant::now() + wait;
        loop {
            match HomeLock::try_take(&self.path) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                Ok(None) => {
                    let holders = home_lock::holders(&self.path);
                    return Err(HomeError::Locked { home: self.path.clone(), holders });
                }
                Err(source) => return Err(io_error("lock", &self.path)(source)),
            }
        }
    }

    /// Whether [`prepare`](Self::prepare) could do its work, without doing it.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn check(&self, role: &Role) -> Result<(), HomeError> {
        self.plan(role).map(drop)
    }

    /// Makes the home what `role` needs; to be called before each start of neard. Everything is
    /// checked before anything is changed, and each change is complete or not made at all. A
    /// validator key leaves first and enters last.
    ///
    /// # Errors
    /// See [`HomeError`]. neard must not be started then.
    pub fn prepare(&self, role: &Role) -> Result<(), HomeError> {
        let _editing = self.editing();
        self.forget_shutdown()?;
        let plan = self.plan(role)?;
        let standby = matches!(role, Role::Standby { .. });
        if standby {
            self.unlink(&plan.validator_key_file)?;
        }
        if let Some(node_key) = &plan.node_key {
            self.save_own_node_key(&plan.node_key_file, node_key)?;
            self.link(&plan.node_key_file, node_key)?;
        }
        if let Some(text) = &plan.config {
            self.write_config(text)?;
        }
        if !standby {
            self.link(&plan.validator_key_file, &plan.validator_key)?;
        }
        Ok(())
    }

    /// Puts the validator key into the home of a neard that runs; SIGHUP makes neard load it.
    ///
    /// # Errors
    /// See [`HomeError`]; the home is as it was.
    pub fn insert_validator_key(&self, validator_key: &Path) -> Result<(), HomeError> {
        let (config, _) = self.read_config()?;
        let source =
            self.key_source(KeyKind::ValidatorKey, validator_key, &config.validator_key_file)?;
        self.check_replaceable(&config.validator_key_file, &source)?;
        self.link(&config.validator_key_file, &source)
    }

    /// Takes the validator key out of the home; neard that runs keeps it until SIGHUP. Fine if
    /// there is none.
    ///
    /// # Errors
    /// See [`HomeError`]; the key may still be there.
    pub fn remove_validator_key(&self, validator_key: &Path) -> Result<(), HomeError> {
        let (config, _) = self.read_config()?;
        self.check_replaceable(&config.validator_key_file, validator_key)?;
        self.unlink(&config.validator_key_file)
    }
}

impl Home {
    fn editing(&self) -> MutexGuard<'_, ()> {
        self.editing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `config.json` as a neard that is started now reads it.
    ///
    /// # Errors
    /// As [`Home::open`].
    pub fn config(&self) -> Result<ConfigAtStart, HomeError> {
        let (_, text) = self.read_config()?;
        Ok(ConfigAtStart { path: self.config_path(), text })
    }
}

/// A neard's `config.json` at its start: what decides about hot swap is not read again on SIGHUP.
#[derive(Clone, Debug)]
pub struct ConfigAtStart {
    path: PathBuf,
    text: String,
}

impl ConfigAtStart {
    /// Why a neard of this version and chain cannot be given the key of `account` while it runs,
    /// and the remedy; `None` if it can.
    pub fn hot_swap_obstacle(
        &self,
        version: Option<&str>,
        chain_id: &str,
        account: &str,
    ) -> Option<String> {
        version.and_then(hot_swap::version_obstacle).or_else(|| {
            hot_swap::obstacle(&self.text, chain_id, account)
                .map(|why| format!("{} {why}", self.path.display()))
        })
    }
}

impl Home {
    /// Why a neard of this home does not start, or ends itself when it gets the key of `account`
    /// on this chain, and the remedy; `None` if nothing is known.
    pub fn start_obstacle(&self, chain_id: &str, account: &str) -> Option<String> {
        let (_, text) = self.read_config().ok()?;
        hot_swap::start_obstacle(&text, chain_id, account)
            .map(|why| format!("{} {why}", self.config_path().display()))
    }
}

/// What [`Home::prepare`] is going to do.
struct Plan {
    validator_key_file: String,
    validator_key: PathBuf,
    node_key_file: String,
    node_key: Option<PathBuf>,
    /// The new text of `config.json`, if it changes.
    config: Option<String>,
}

impl Home {
    fn plan(&self, role: &Role) -> Result<Plan, HomeError> {
        let (config, text) = self.read_config()?;
        let (Role::Standby { validator_key, node_key, network_addr, public_address }
        | Role::Validator { validator_key, node_key, network_addr, public_address }) = role;
        let validator_key =
            self.key_source(KeyKind::ValidatorKey, validator_key, &config.validator_key_file)?;
        self.check_replaceable(&config.validator_key_file, &validator_key)?;
        let node_key = node_key
            .as_deref()
            .map(|path| self.key_source(KeyKind::NodeKey, path, &config.node_key_file))
            .transpose()?;

        let public_addrs = match public_address {
            None => Vec::new(),
            Some(ip) => {
                if !config.allow_private_ip_in_public_addrs && !is_public(*ip)
                    || ip.is_unspecified()
                {
                    return Err(HomeError::PrivateAddress {
                        address: *ip,
                        config: self.config_path(),
                    });
                }
                let in_use = self.path.join(&config.node_key_file);
                let node_key = node_key.as_deref().unwrap_or(&in_use);
                // Its permissions were checked, or deliberately not, when kneard started.
                let key = KeyFile::load(node_key, KeyKind::NodeKey, true)?;
                vec![format!("{}@{}", key.public_key, SocketAddr::new(*ip, network_addr.port()))]
            }
        };
        let rewritten = config::with_network(&text, network_addr, &public_addrs)
            .map_err(|why| self.config_error(why))?;
        Ok(Plan {
            validator_key_file: config.validator_key_file,
            validator_key,
            node_key_file: config.node_key_file,
            node_key,
            config: (rewritten != text).then_some(rewritten),
        })
    }

    fn config_path(&self) -> PathBuf {
        self.path.join("config.json")
    }

    fn config_error(&self, why: String) -> HomeError {
        HomeError::Config { config: self.config_path(), why }
    }

    fn read_config(&self) -> Result<(NeardConfig, String), HomeError> {
        let path = self.config_path();
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                HomeError::NoConfig { home: self.path.clone(), config: path.clone() }
            }
            io::ErrorKind::InvalidData => {
                self.config_error("is not JSON (not UTF-8); run neard init".to_owned())
            }
            _ => io_error("read", &path)(error),
        })?;
        let config = NeardConfig::read(&text).map_err(|why| self.config_error(why))?;
        Ok((config, text))
    }

    fn write_config(&self, text: &str) -> Result<(), HomeError> {
        // Where config.json is a symlink, its target is written and the link stays.
        let path = self.config_path();
        let path = fs::canonicalize(&path).map_err(io_error("find", &path))?;
        let old = fs::metadata(&path).map_err(io_error("examine", &path))?;
        let new = path.with_file_name(".config.json.new");
        remove_if_there(&new)?;
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(old.mode() & 0o777)
                .open(&new)?;
            // Only root can, and only then it may be needed.
            let _ = fchown(&file, Some(old.uid().into()), Some(old.gid().into()));
            // Again, since the process's umask may have taken something away.
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&new);
            io_error("write", &path)(source)
        })?;
        sync_directory(path.parent().unwrap_or(&self.path))
    }
}

/// As neard sees it (nearcore, `chain/network/src/config.rs`).
fn is_public(address: IpAddr) -> bool {
    let private = matches!(address, IpAddr::V4(address) if address.is_private());
    !(private || address.is_loopback() || address.is_unspecified())
}

fn remove_if_there(path: &Path) -> Result<(), HomeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Makes renames and removals in a directory survive a power failure.
fn sync_directory(path: &Path) -> Result<(), HomeError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io_error("sync", path))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    let path = path.to_owned();
    move |source| HomeError::Io { doing, path, source }
}
