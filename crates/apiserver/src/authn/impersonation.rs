//! Acting as another: the `Impersonate-*` headers, each of which the user must be allowed.

use std::collections::BTreeMap;

use api::status::Status;
use http::HeaderMap;

use super::service_account;
use crate::{
    authz::{self, Authorizer},
    cluster::Cluster,
    identity::{ANONYMOUS, AUTHENTICATED, Attributes, Target, UNAUTHENTICATED, User},
};

const EXTRA_PREFIX: &str = "impersonate-extra-";

/// The user to act as; `None` where the headers ask for nobody.
pub fn impersonate(
    headers: &HeaderMap,
    user: &User,
    authorizer: &dyn Authorizer,
    cluster: &dyn Cluster,
) -> Result<Option<User>, Status> {
    let wanted = Wanted::read(headers);
    if wanted.name.is_empty() {
        return match wanted.groups.is_empty() && wanted.extra.is_empty() && wanted.uid.is_empty() {
            true => Ok(None),
            false => Err(Status::bad_request("requested impersonation of groups, extra or UID without a user")),
        };
    }
    wanted.require(user, authorizer, cluster)?;
    Ok(Some(wanted.into_user()))
}

struct Wanted {
    name: String,
    groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    fn read(headers: &HeaderMap) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let first = |name: &str| headers.get(name).map(text).unwrap_or_default();
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
                extra.entry(unescape(key)).or_default().push(text(value));
            }
        }
        Self {
            name: first("impersonate-user"),
            groups: headers.get_all("impersonate-group").iter().map(text).collect(),
            uid: first("impersonate-uid"),
            extra,
        }
    }

    fn require(&self, user: &User, authorizer: &dyn Authorizer, cluster: &dyn Cluster) -> Result<(), Status> {
        let require = |group, version, resource, subresource, namespace, name| {
            let target = Target::Resource { group, version, resource, subresource, namespace, name };
            authz::require(authorizer, &Attributes::new(user, "impersonate", target), cluster)
        };
        match service_account::split_user_name(&self.name) {
            Some((namespace, name)) => require("", "v1", "serviceaccounts", "", namespace, name)?,
            None => require("", "v1", "users", "", "", &self.name)?,
        }
        for group in &self.groups {
            require("", "v1", "groups", "", "", group)?;
        }
        for (key, values) in &self.extra {
            for value in values {
                require("authentication.k8s.io", "v1", "userextras", key, "", value)?;
            }
        }
        if !self.uid.is_empty() {
            require("authentication.k8s.io", "v1", "uids", "", "", &self.uid)?;
        }
        Ok(())
    }

    fn into_user(self) -> User {
        let mut groups = self.groups;
        if groups.is_empty()
            && let Some((namespace, _)) = service_account::split_user_name(&self.name)
        {
            groups = service_account::groups(namespace);
        }
        let has = |groups: &[String], name: &str| groups.iter().any(|group| group == name);
        if self.name == ANONYMOUS {
            if !has(&groups, UNAUTHENTICATED) {
                groups.push(UNAUTHENTICATED.to_owned());
            }
        } else if !has(&groups, AUTHENTICATED) && !has(&groups, UNAUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        User { name: self.name, uid: self.uid, groups, extra: self.extra }
    }
}

/// Header names hold few characters: the others come as `%2f`. What is not well formed is taken as it is.
fn unescape(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let hex = |index: usize| after.get(index).and_then(|digit| char::from(*digit).to_digit(16));
        let (Some(high), Some(low)) = (hex(0), hex(1)) else { return key.to_owned() };
        bytes.push((high * 16 + low) as u8);
        rest = &after[2..];
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}
