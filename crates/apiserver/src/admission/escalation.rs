//! Nobody grants what they do not hold: [`authz::escalation`](crate::authz::escalation) as a plug-in.

use std::sync::Arc;

use api::status::Status;

use super::{Plugin, Request};
use crate::{
    authz::{Authorizer, Rbac, escalation},
    cluster::Cluster,
};

pub struct Escalation {
    authorizer: Arc<dyn Authorizer>,
    rbac: Rbac,
}

impl Escalation {
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer, rbac: Rbac::default() }
    }
}

#[async_trait::async_trait]
impl Plugin for Escalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        escalation::check(request, &*self.authorizer, &self.rbac, cluster)
    }
}
