//! Asks the coordinator for credentials of a catalog service that a long task needs once more.
//!
//! The coordinator alone knows the service. It answers workers that have announced themselves, for stores that it opened.

use crate::cluster::CredentialRequest;
use async_trait::async_trait;
use saltlake_catalog::{CredentialSource, Credentials};
use std::time::Duration;
use url::Url;
use uuid::Uuid;

/// Time the coordinator gets to answer: it may have to ask the service, and that more than once.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// The coordinator of this worker.
#[derive(Debug)]
pub(super) struct Coordinator {
    endpoint: Url,
    worker: Uuid,
}

impl Coordinator {
    /// Returns the coordinator at a cluster address, as the worker with this id asks it.
    pub(super) fn new(address: &Url, worker: Uuid) -> Self {
        let mut endpoint = address.clone();
        endpoint.set_path("/v1/credentials");
        Self { endpoint, worker }
    }
}

#[async_trait]
impl CredentialSource for Coordinator {
    async fn credentials(&self, store: &str) -> Result<Option<Credentials>, String> {
        let ask = async {
            let client = reqwest::Client::builder().timeout(ANSWER_TIME).no_proxy().build()?;
            let request = CredentialRequest { worker: self.worker, store: store.to_string() };
            let answer = client.post(self.endpoint.clone()).json(&request).send().await?;
            answer.error_for_status()?.json().await
        };
        ask.await.map_err(|error: reqwest::Error| format!("the coordinator says: {error}"))
    }
}
