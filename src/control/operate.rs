//! The client's side of what operators order.

use super::{
    Client, ClientError, FollowOrder, Followed, History, Maintenance, PauseOrder, Paused,
    RestartBegun, RestartCancelled, RestartOrder, Resumed, SwitchoverBegun, SwitchoverOrder,
};

/// Each fails when kneard does not answer, or refuses and says why.
#[allow(clippy::missing_errors_doc, reason = "said once above")]
impl Client {
    pub async fn switch_over(
        &self,
        order: &SwitchoverOrder,
    ) -> Result<SwitchoverBegun, ClientError> {
        self.post("/switchover", order).await
    }

    /// Who has the key in a later term; returns without a holder when nobody has it soon.
    pub async fn follow(&self, after_term: u64) -> Result<Followed, ClientError> {
        self.post("/follow", &FollowOrder { after_term }).await
    }

    pub async fn pause(&self, order: &PauseOrder) -> Result<Paused, ClientError> {
        self.post("/pause", order).await
    }

    pub async fn resume(&self) -> Result<Resumed, ClientError> {
        self.post("/resume", &()).await
    }

    pub async fn restart(&self, order: &RestartOrder) -> Result<RestartBegun, ClientError> {
        self.post("/restart", order).await
    }

    pub async fn cancel_restart(&self) -> Result<RestartCancelled, ClientError> {
        self.post("/restart/cancel", &()).await
    }

    pub async fn maintenance(&self) -> Result<Maintenance, ClientError> {
        self.get("/maintenance").await
    }

    pub async fn history(&self) -> Result<History, ClientError> {
        self.get("/history").await
    }
}
