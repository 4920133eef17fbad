//! The readers of Consul's answers, as the transport calls them.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::error::{Error, Failure};
use super::types::{KvEntry, SessionId, SessionInfo, TxnOp};
use super::{AgentSelf, Health, Read, answer, transport};

pub struct Answer(transport::Answer);

impl Answer {
    pub fn new(status: u16, headers: &[(&'static str, &[u8])], body: &[u8]) -> Self {
        let headers: HeaderMap = headers
            .iter()
            .filter_map(|(name, value)| {
                Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?))
            })
            .collect();
        Self(transport::Answer {
            address: "consul".to_owned(),
            status,
            headers,
            body: body.to_vec(),
        })
    }

    fn judge<T>(
        &self,
        read: impl FnOnce(&transport::Answer) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        answer::judged(&self.0, false, read).map_err(|failure| failure.at("consul"))
    }

    pub fn boolean(&self) -> Result<bool, Error> {
        self.judge(answer::boolean)
    }

    pub fn new_session(&self) -> Result<SessionId, Error> {
        self.judge(answer::new_session)
    }

    pub fn renewed(&self, id: &SessionId) -> Result<SessionInfo, Error> {
        self.judge(|answer| answer::renewed(answer, id))
    }

    pub fn session_info(&self, id: &SessionId) -> Result<Option<SessionInfo>, Error> {
        self.judge(|answer| answer::session_info(answer, id))
    }

    pub fn read(&self, key: &str) -> Result<Read, Error> {
        self.judge(|answer| answer::read(answer, key))
    }

    pub fn read_prefix(&self, prefix: &str) -> Result<Vec<KvEntry>, Error> {
        self.judge(|answer| answer::read_prefix(answer, prefix))
    }

    pub fn txn(&self, ops: &[TxnOp]) -> Result<Vec<KvEntry>, Error> {
        self.judge(|answer| answer::txn(answer, ops))
    }

    pub fn health(&self) -> Result<Health, Error> {
        answer::judged(&self.0, true, answer::health).map_err(|failure| failure.at("consul"))
    }

    pub fn agent_self(&self) -> Result<AgentSelf, Error> {
        self.judge(answer::agent_self)
    }
}
