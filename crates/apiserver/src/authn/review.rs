//! Questions about credentials: `TokenReview` and `SelfSubjectReview`. Each function returns the review's
//! `status`.

use api::status::Status;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Authenticator;
use crate::{cluster::Cluster, identity::User};

pub fn token(
    review: &Value,
    authenticator: &Authenticator,
    cluster: &dyn Cluster,
    now: Timestamp,
) -> Result<Value, Status> {
    let spec = &review["spec"];
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let mut audiences: Vec<String> =
        spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.clone_from(&authenticator.tokens.config().audiences);
    }
    Ok(match authenticator.authenticate_token(token, &audiences, cluster, now) {
        Ok((user, audiences)) => json!({"authenticated": true, "user": user_info(&user), "audiences": audiences}),
        Err(error) => json!({"user": {}, "error": error.to_string()}),
    })
}

/// `SelfSubjectReview`.
pub fn own(user: &User) -> Value {
    json!({"userInfo": user_info(user)})
}

/// authentication.k8s.io/v1 `UserInfo`.
pub fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    let mut set = |field: &str, value: Value, is_empty: bool| {
        if !is_empty {
            info.insert(field.to_owned(), value);
        }
    };
    set("username", user.name.as_str().into(), user.name.is_empty());
    set("uid", user.uid.as_str().into(), user.uid.is_empty());
    set("groups", json!(user.groups), user.groups.is_empty());
    set("extra", json!(user.extra), user.extra.is_empty());
    Value::Object(info)
}
