//! Create and update: from a decoded document to a committed object.
//!
//! The order is Kubernetes' own: mutating admission sees the document as the client meant it, then the
//! kind's strategy has its say, then everything is validated, then validating admission is asked.
//! A dry run takes the same path and stops before the commit.

use api::{field::FieldErrors, metadata as object_meta, status::Status};
use serde_json::Value;
use std::sync::Arc;
use store::{CommitError, Durability, Entry, Expect, Operation, Template, Transaction};

use super::{
    Caller, Engine, Target, Written, addresses, allocation,
    commits::Holds,
    custom, decode, delete, document_of,
    metadata::{self, Admitted},
    namespaces, object,
    patch::{Change, Changed},
    special, versions,
};
use crate::{
    admission::{self, draft::Draft},
    authz, identity,
};

/// How often an unconditional write is tried again after another writer was faster.
const CONFLICT_TRIES: usize = 64;
/// How many generated names are tried (KEP-4420), and how often a creation that others got in the way of.
const CREATE_TRIES: usize = 8;

/// An update that is ready to be committed.
struct Prepared {
    document: Value,
    holds: Holds,
}

impl Engine {
    /// Stores a new object. `document` is decoded, typed and defaulted.
    pub async fn create(&self, target: &Target, caller: &Caller, document: Value) -> Result<Written, Status> {
        self.create_by_update(target, caller, document, false).await
    }

    /// `applied`: the document comes out of an apply, which has set its managed fields.
    async fn create_by_update(
        &self,
        target: &Target,
        caller: &Caller,
        document: Value,
        applied: bool,
    ) -> Result<Written, Status> {
        let generated = metadata::wants_generated_name(&document);
        for attempt in 1.. {
            let (mut target, is_last) = (target.clone(), attempt == CREATE_TRIES);
            match self.create_once(&mut target, caller, document.clone(), applied).await {
                Err(status) if status.reason == "AlreadyExists" && generated && !is_last => {}
                Ok(None) if !is_last => {}
                Ok(None) => return Err(Status::modified(target.subject())),
                Ok(Some(written)) => return Ok(written),
                Err(status) => return Err(status),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// `None` where what was to be written beside the object was taken meanwhile.
    async fn create_once(
        &self,
        target: &mut Target,
        caller: &Caller,
        mut document: Value,
        applied: bool,
    ) -> Result<Option<Written>, Status> {
        let resource = target.resource.clone();
        metadata::prepare_create(target, &mut document)?;
        custom::expectation(self, target)?;
        metadata::keep_single_owners(&mut document, Admitted::Before, &caller.warnings);
        // Apply has said already who owns what.
        if !applied {
            metadata::own_fields(self, target, None, &mut document, caller);
        }
        let operation = admission::Operation::Create;
        let draft = self.mutated(operation, target, caller, document, &Value::Null).await?;
        let mut document = draft.into_inner();
        metadata::complete_create(target, &mut document, self)?;
        metadata::keep_single_owners(&mut document, Admitted::After, &caller.warnings);
        if resource.strategy.counts_generation || resource.custom.is_some() {
            document["metadata"]["generation"] = 1.into();
        }
        let strategy = &resource.strategy;
        versions::in_storage_form(&resource, &mut document, |document| (strategy.prepare_create)(document));
        special::fill_in(target, caller, &mut document);
        let claim = allocation::allocate(self, target, &Value::Null, &mut document, caller.dry_run)?;
        let mut errors = FieldErrors::new();
        object_meta::validate(&document, resource.scope, strategy.name, &mut errors);
        metadata::validate_finalizers(&resource, &document, &mut errors);
        let stored_form = versions::stored_form(&resource, &document);
        (strategy.validate)(&stored_form, &mut errors);
        (strategy.expressions)(&stored_form, &mut errors);
        (strategy.validate_create)(&stored_form, &mut errors);
        let told = (strategy.warnings)(&stored_form);
        drop(stored_form);
        custom::validate(target, &document, None, &mut errors);
        refuse(target, &document, &errors)?;
        caller.warnings.extend(told);
        let mut request = self.admission_request(operation, target, caller, document, &Value::Null);
        self.admission.validate(&mut request, self).await?;
        let document = request.object.into_inner();
        let holds = Holds { claim, reservation: request.reservation.map(Arc::new) };
        if caller.dry_run {
            let mut document = document;
            decode::fit_stored(&target.resource, &mut document);
            return Ok(Some(Written::unsaved(document, true)));
        }
        let mut beside = Transaction::default();
        addresses::accompany(self, target, &Value::Null, &document, &mut beside)?;
        let template = self.encode(target, document);
        let key: Arc<str> = target.key().into();
        loop {
            let definition = custom::expectation(self, target)?;
            let namespace = namespaces::expectation(self, target)?;
            let mut transaction = Transaction {
                expects: [(Arc::clone(&key), Expect::Absent)].into_iter().chain(definition).chain(namespace).collect(),
                operations: vec![Operation::Put { key: Arc::clone(&key), value: template.clone() }],
                durability: Durability::Durable,
            };
            extend(&mut transaction, beside.clone());
            match self.commit("create", &target.resource, transaction, &holds).await {
                Ok(committed) => return Ok(Some(Written::saved(&committed, true))),
                Err(CommitError::Conflict { key: other, .. }) if other == key => {
                    return Err(Status::already_exists(target.subject()));
                }
                // What was to go with it was taken meanwhile.
                Err(CommitError::Conflict { key: other, .. })
                    if beside.expects.iter().any(|(key, _)| *key == other) =>
                {
                    return Ok(None);
                }
                // The definition or the namespace has changed: perhaps it goes.
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(commit_error(&error)),
            }
        }
    }

    /// Changes an object, or creates it where the change and the kind allow that.
    pub async fn update(&self, target: &Target, caller: &Caller, change: &Change<'_>) -> Result<Written, Status> {
        for _ in 0..CONFLICT_TRIES {
            let Some(entry) = self.store.snapshot().get(&target.key()).cloned() else {
                return match change.create(self, target, caller)? {
                    Some(document) => {
                        self.require_create(target, caller)?;
                        let caller = caller.creating();
                        self.create_by_update(target, &caller, document, change.sets_owners()).await
                    }
                    None => Err(Status::not_found(target.subject())),
                };
            };
            let old = document_of(&target.resource, &entry)?;
            let Changed { document: new, conditional } = change.apply(self, target, caller, &old).await?;
            metadata::check_preconditions(target, &old, &new, change.is_replace())?;
            let prepared = self.prepare_update(target, caller, &old, new, change).await?;
            let Some(Prepared { mut document, holds }) = prepared else {
                return Ok(Written::unchanged(entry));
            };
            if caller.dry_run {
                decode::fit_stored(&target.resource, &mut document);
                return Ok(Written::unsaved(document, false));
            }
            let last = delete::is_released(&target.resource, &document);
            let durability = special::durability(target, &old, &document);
            let mut beside = Transaction::default();
            let left = if last { &Value::Null } else { &document };
            addresses::accompany(self, target, &old, left, &mut beside)?;
            let mut transaction = replacement(&entry, self.encode(target, document), last, durability);
            extend(&mut transaction, beside);
            match self.commit("update", &target.resource, transaction, &holds).await {
                Ok(committed) => return Ok(Written::saved(&committed, false)),
                Err(CommitError::Conflict { .. }) if conditional => return Err(Status::modified(target.subject())),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(commit_error(&error)),
            }
        }
        Err(Status::modified(target.subject()))
    }

    /// Who creates by an update or an apply needs the right to create.
    fn require_create(&self, target: &Target, caller: &Caller) -> Result<(), Status> {
        let resource = &target.resource;
        let asked = identity::Target::Resource {
            group: &resource.group,
            version: &resource.version,
            resource: &resource.plural,
            subresource: "",
            namespace: &target.namespace,
            name: &target.name,
        };
        let attributes = identity::Attributes::new(&caller.user, "create", asked);
        authz::require(&*self.authority.chain, &attributes, self)
    }

    /// Everything between the new document and the commit; `None` where nothing would change.
    async fn prepare_update(
        &self,
        target: &Target,
        caller: &Caller,
        old: &Value,
        mut new: Value,
        change: &Change<'_>,
    ) -> Result<Option<Prepared>, Status> {
        let resource = &target.resource;
        let is_unversioned = change.is_replace() && metadata::asked_version(&new).is_empty();
        special::confine(target, old, &mut new);
        if change.is_replace() {
            metadata::keep_single_owners(&mut new, Admitted::Before, &caller.warnings);
        }
        if !change.sets_owners() {
            metadata::own_fields(self, target, Some(old), &mut new, caller);
        }
        let operation = admission::Operation::Update;
        if change.asks_admission() && change.scaling().is_none() {
            let draft = self.mutated(operation, target, caller, new, old).await?;
            let is_touched = draft.is_touched();
            new = draft.into_inner();
            if is_touched {
                metadata::place_in_namespace(target, &mut new)?;
                metadata::check_version(target, old, &new)?;
                special::confine(target, old, &mut new);
            }
        }
        if is_unversioned {
            metadata::require_version(target)?;
        }
        metadata::keep_single_owners(&mut new, Admitted::After, &caller.warnings);
        metadata::carry_over(old, &mut new);
        let new = &mut new;
        let strategy = &resource.strategy;
        let old_form = versions::stored_form(resource, old);
        versions::in_storage_form(resource, new, |new| special::prepare(target, new, &old_form));
        let claim = allocation::allocate(self, target, old, new, caller.dry_run)?;
        let mut errors = FieldErrors::new();
        // A pod that gets its node is the same pod.
        if target.subresource != "binding" {
            metadata::count_generation(target, old, new);
        }
        document::apply::keep_times(old, new);
        object_meta::validate(new, resource.scope, strategy.name, &mut errors);
        metadata::validate_finalizers(resource, new, &mut errors);
        object_meta::validate_update(new, old, &mut errors);
        special::validate(target, &versions::stored_form(resource, new), &old_form, &mut errors);
        custom::validate(target, new, Some(old), &mut errors);
        refuse(target, new, &errors)?;
        let (mut document, mut holds) = (std::mem::take(new), Holds { claim, reservation: None });
        if change.asks_admission() {
            caller.warnings.extend((strategy.warnings)(&versions::stored_form(resource, &document)));
        }
        // Also about what changes nothing: who watches over writes by a webhook hears of each.
        if let Some(scaling) = change.scaling() {
            scaling.validate(self, &document, old).await?;
        } else if change.asks_admission() {
            let mut request = self.admission_request(operation, target, caller, document, old);
            self.admission.validate(&mut request, self).await?;
            document = request.object.into_inner();
            holds.reservation = request.reservation.map(Arc::new);
        }
        if document == *old {
            return Ok(None);
        }
        Ok(Some(Prepared { document, holds }))
    }

    /// The document as admission wants it, in canonical form. What it says about the object's identity is still to
    /// be checked.
    async fn mutated(
        &self,
        operation: admission::Operation,
        target: &Target,
        caller: &Caller,
        document: Value,
        old: &Value,
    ) -> Result<Draft, Status> {
        let owners = document["metadata"].get("managedFields").cloned();
        let mut request = self.admission_request(operation, target, caller, document, old);
        self.admission.mutate(&mut request, self).await?;
        let mut draft = request.object;
        if draft.is_touched() {
            decode::complete(&target.resource, &mut draft)?;
            metadata::keep_readable_owners(owners.as_ref(), &mut draft, &caller.warnings);
        }
        Ok(draft)
    }

    pub(super) fn admission_request<'a>(
        &self,
        operation: admission::Operation,
        target: &'a Target,
        caller: &'a Caller,
        object: Value,
        old: &'a Value,
    ) -> admission::Request<'a> {
        admission::Request {
            operation,
            resource: &target.resource,
            subresource: &target.subresource,
            namespace: &target.namespace,
            name: &target.name,
            user: &caller.user,
            dry_run: caller.dry_run,
            options: &caller.options,
            object: object.into(),
            old,
            warnings: caller.warnings.clone(),
            annotations: caller.annotations.clone(),
            reservation: None,
        }
    }

    /// The stored form of a document in the served version.
    pub(super) fn encode(&self, target: &Target, mut document: Value) -> Template {
        versions::to_storage(&target.resource, &mut document);
        decode::fit_stored(&target.resource, &mut document);
        object::encode(&target.resource, &document)
    }
}

/// The transaction that puts a document in the place of `entry`, if that is still what is there.
pub(super) fn replacement(entry: &Entry, template: Template, gone: bool, durability: Durability) -> Transaction {
    let key = Arc::clone(&entry.key);
    Transaction {
        expects: vec![(Arc::clone(&key), Expect::Modified(entry.modified))],
        operations: vec![match gone {
            true => Operation::Delete { key, last: template },
            false => Operation::Put { key, value: template },
        }],
        durability,
    }
}

/// What goes with an object is written with it, or not at all.
pub(super) fn extend(transaction: &mut Transaction, beside: Transaction) {
    transaction.expects.extend(beside.expects);
    transaction.operations.extend(beside.operations);
}

pub(crate) fn remove(document: &mut Value, field: &str) {
    if let Some(members) = document.as_object_mut() {
        members.remove(field);
    }
}

pub(super) fn refuse(target: &Target, document: &Value, errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let metadata = &document["metadata"];
    let name = metadata["name"].as_str().or(metadata["generateName"].as_str()).unwrap_or_default();
    Err(Status::invalid(target.kind_subject(name), errors))
}

/// What a failed commit means to a client. Conflicts are told by the caller, who knows the object.
pub(super) fn commit_error(error: &CommitError) -> Status {
    match error {
        CommitError::TooLarge { .. } => Status::too_large(error.to_string()),
        CommitError::Closed => Status::unavailable("the server is shutting down"),
        other => Status::internal(other.to_string()),
    }
}
