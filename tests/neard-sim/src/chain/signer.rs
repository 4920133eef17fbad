//! A validator key in use: every signature goes to the journal first.

use std::cell::RefCell;
use std::rc::Rc;

use crate::hash::Hash;
use crate::journal::{Event, Journal};
use crate::keys::{KeyFile, PublicKey, SecretKey, Signature};
use crate::log;

/// A loaded validator key.
#[derive(Debug)]
pub struct Signer {
    pub account_id: String,
    pub public_key: PublicKey,
    key: SecretKey,
    /// `None` only in tests of the consensus.
    journal: Option<Rc<RefCell<Journal>>>,
}

impl Signer {
    /// Takes the key into use; the journal says so first.
    pub fn load(file: KeyFile, journal: Option<Rc<RefCell<Journal>>>) -> Self {
        let public_key = file.key.public();
        if let Some(journal) = &journal {
            must(journal.borrow_mut().key_loaded(&file.account_id, &public_key));
        }
        Self { account_id: file.account_id, public_key, key: file.key, journal }
    }

    /// Gives the key up (nobody can call [`Self::sign`] any more) and says so in the journal.
    pub fn unload(self) {
        let Self { account_id, public_key, journal, .. } = self;
        if let Some(journal) = journal {
            must(journal.borrow_mut().key_unloaded(&account_id, &public_key));
        }
    }

    /// Journals and then signs `hash`.
    pub fn sign(&self, event: Event, height: u64, hash: &Hash) -> Signature {
        if let Some(journal) = &self.journal {
            let mut journal = journal.borrow_mut();
            must(journal.signed(event, &self.account_id, &self.public_key, height, hash));
        }
        self.key.sign(&hash.0)
    }
}

/// A stand-in that cannot keep its journal must not sign: the journal is all the evidence.
fn must(result: std::io::Result<()>) {
    if let Err(e) = result {
        log::die(file!(), format_args!("signatures.log cannot be written: {e}"));
    }
}
