//! Who asks, and what for: the vocabulary between authentication, authorization and admission.

use std::collections::BTreeMap;

use crate::authn::service_account;

/// An authenticated user (authentication.k8s.io/v1 `UserInfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

pub const ANONYMOUS: &str = "system:anonymous";
pub const AUTHENTICATED: &str = "system:authenticated";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
pub const MASTERS: &str = "system:masters";

impl User {
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// Whom the limits of what one user may cause count it to: service accounts of a namespace are one, for
    /// who may make one of them can make any number.
    pub fn payer(&self) -> &str {
        let is_in_process = self.groups.iter().any(|group| group == MASTERS);
        match service_account::split_user_name(&self.name) {
            Some((_, name)) if !is_in_process => &self.name[..self.name.len() - name.len() - 1],
            _ => &self.name,
        }
    }

    /// A controller of this process. It is called as its like in a stock cluster, so that audit logs and policies know it,
    /// and may do everything: what is compiled into the server is not held back by its rules, and writes by patches,
    /// which the roles of those accounts leave out.
    pub fn controller(account: &str) -> Self {
        let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", AUTHENTICATED, MASTERS];
        Self {
            name: format!("system:serviceaccount:kube-system:{account}"),
            groups: groups.map(str::to_owned).into(),
            ..Self::default()
        }
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known == group)
    }
}

/// One request as authorization sees it (authorization.k8s.io/v1 `SubjectAccessReviewSpec`).
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    pub user: &'a User,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or a special
    /// verb (`escalate`, `bind`, `impersonate`, `approve`, `sign`); the lower-case HTTP method for a
    /// request that names no resource.
    pub verb: &'a str,
    pub target: Target<'a>,
    /// The field selector of a `list`, `watch` or `deletecollection`, as sent; empty where there is none.
    /// A selector that is exactly `metadata.name=x` is also the target's name.
    pub field_selector: &'a str,
}

impl<'a> Attributes<'a> {
    pub fn new(user: &'a User, verb: &'a str, target: Target<'a>) -> Self {
        Self { user, verb, target, field_selector: "" }
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    Resource {
        group: &'a str,
        version: &'a str,
        resource: &'a str,
        subresource: &'a str,
        /// Empty for cluster-scoped resources and for requests over all namespaces.
        namespace: &'a str,
        /// Empty for collections.
        name: &'a str,
    },
    /// `/healthz`, `/openapi/v2`.
    Path(&'a str),
}

#[cfg(test)]
mod tests {
    use super::User;

    #[test]
    fn service_accounts_of_a_namespace_pay_together() {
        let named = |name: &str| User { name: name.to_owned(), ..User::default() };
        for (name, payer) in [
            ("system:serviceaccount:team:builder", "system:serviceaccount:team"),
            ("system:serviceaccount:team:b.c", "system:serviceaccount:team"),
            ("system:serviceaccount:team", "system:serviceaccount:team"),
            ("system:serviceaccount::x", "system:serviceaccount::x"),
            ("jane", "jane"),
            ("system:node:a", "system:node:a"),
        ] {
            assert_eq!(named(name).payer(), payer, "{name}");
        }
        // Controllers of this process each have a share.
        assert!(User::controller("job-controller").payer().ends_with(":job-controller"));
    }
}
