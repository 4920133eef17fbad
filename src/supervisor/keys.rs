//! Where things are in Consul's KV store.

/// The keys of one account's election.
#[derive(Debug, Clone)]
pub struct Keys {
    account: String,
}

impl Keys {
    pub fn new(account: &str) -> Self {
        Keys { account: account.to_owned() }
    }

    pub fn account(&self) -> &str {
        &self.account
    }

    /// The election key. The name is the original's, so that both never validate side by side.
    pub fn election(&self) -> String {
        format!("kuutamod-leader/{}", self.account)
    }

    /// The prefix below which the nodes publish themselves.
    pub fn nodes(&self) -> String {
        format!("kuutamod-nodes/{}/", self.account)
    }

    /// Takeovers are forbidden while this is there.
    pub fn pause(&self) -> String {
        format!("kuutamod-pause/{}", self.account)
    }

    /// The prefix of what is known of earlier holders.
    pub fn history(&self) -> String {
        format!("kuutamod-history/{}/", self.account)
    }

    /// In the order of the terms.
    pub fn history_entry(&self, term: u64) -> String {
        format!("{}{term:020}", self.history())
    }

    pub fn node(&self, name: &str) -> String {
        format!("{}{name}", self.nodes())
    }
}
