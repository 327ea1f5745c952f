//! The cluster's certificate authority, as it is handed to the controllers.

use std::{sync::Arc, time::Duration};

use apiserver::pki::Pki;
use controllers::authority::Authority;
use jiff::Timestamp;

pub struct ClusterAuthority(pub Arc<Pki>);

impl Authority for ClusterAuthority {
    fn certificate(&self) -> String {
        // It was read or made at the start: there is nothing in it that cannot be encoded again.
        self.0.authority_pem().unwrap_or_default()
    }

    fn sign(&self, request: &[u8], usages: &[&str], life: Duration, now: Timestamp) -> Result<String, String> {
        self.0.sign_pem(request, usages, life, now).map_err(|error| error.to_string())
    }
}
