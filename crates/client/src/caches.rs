//! One cache per kind and process, shared by every part in it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    Cache, Change, Key, Kind, Queues, Requests,
    cache::Subscription,
    objects::{self, Meta, Object},
    reading::{self, Read},
    reflector,
};

/// The kinds that are kept: a field of [`Caches`], a variant of [`Topic`] and one of [`Changes`] for each.
macro_rules! kinds {
    ($($field:ident: $view:ident),* $(,)?) => {
        /// What this process knows of the cluster. Cheap to clone: a test fills one with fixed objects.
        #[derive(Clone, Default)]
        pub struct Caches {
            $(pub $field: Arc<Cache<objects::$view>>,)*
            /// Where the parts of this process open their work queues.
            pub queues: Queues,
        }

        /// A kind that is kept.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Topic {
            $($view,)*
        }

        /// What has changed of one kind.
        pub enum Changes {
            $($view(Vec<Change<objects::$view>>),)*
        }

        impl Topic {
            pub const ALL: &[Topic] = &[$(Topic::$view),*];

            pub fn kind(self) -> Kind {
                match self {
                    $(Self::$view => objects::$view::KIND,)*
                }
            }

            /// The kinds of which every object is kept, not only some.
            pub fn whole() -> impl Iterator<Item = Topic> {
                let selects = |topic: &Topic| match topic {
                    $(Self::$view => !objects::$view::SELECTORS.is_empty(),)*
                };
                Self::ALL.iter().copied().filter(move |topic| !selects(topic))
            }
        }

        impl Changes {
            /// The metadata of every object as it was and as it is, for those who care for nothing else.
            pub fn each_metadata(&self, mut tell: impl FnMut(&Key, Option<&Meta>, Option<&Meta>)) {
                match self {
                    $(Self::$view(changes) => for change in changes {
                        tell(&change.key, change.old.as_deref().map(objects::$view::meta), change.new.as_deref().map(objects::$view::meta));
                    },)*
                }
            }
        }

        impl Caches {
            fn follow(&self, topic: Topic, requests: Requests, tasks: &mut JoinSet<()>) {
                match topic {
                    $(Topic::$view => {
                        let cache = Arc::clone(&self.$field);
                        tasks.spawn(async move { reflector::run(cache, requests, objects::$view::SELECTORS).await });
                    })*
                }
            }

            pub async fn synced(&self, topics: &[Topic]) {
                for topic in topics {
                    match topic {
                        $(Topic::$view => self.$field.synced().await,)*
                    }
                }
            }

            pub fn subscribe(&self, topic: Topic, news: &Arc<Notify>) -> AnySubscription {
                match topic {
                    $(Topic::$view => AnySubscription::$view(self.$field.subscribe(Arc::clone(news))),)*
                }
            }

            /// Takes in an object as a server would send it. False where its kind is not kept.
            pub fn observe(&self, object: &Value) -> Result<bool, serde_json::Error> {
                $(if is_of::<objects::$view>(object) {
                    self.$field.observe(serde_json::from_value(object.clone())?);
                    return Ok(true);
                })*
                Ok(false)
            }
        }

        impl Caches {
            /// Takes in the answer to a creation or change of this process.
            pub fn observe_answer(&self, kind: &Kind, answer: &[u8]) {
                $(if *kind == objects::$view::KIND {
                    observe(&self.$field, answer);
                })*
            }

            /// Takes in the answer to a deletion of this process; empty where there was nothing to delete.
            pub fn observe_deletion(&self, kind: &Kind, key: &Key, answer: &[u8]) {
                $(if *kind == objects::$view::KIND {
                    observe_deletion(&self.$field, key, answer);
                })*
            }
        }

        /// A subscription to one of the kinds.
        pub enum AnySubscription {
            $($view(Subscription<objects::$view>),)*
        }

        impl AnySubscription {
            pub fn changes(&self) -> Changes {
                match self {
                    $(Self::$view(subscription) => Changes::$view(subscription.changes()),)*
                }
            }
        }
    };
}

kinds! {
    pods: Pod,
    replica_sets: ReplicaSet,
    deployments: Deployment,
    nodes: Node,
    replication_controllers: ReplicationController,
    stateful_sets: StatefulSet,
    daemon_sets: DaemonSet,
    controller_revisions: ControllerRevision,
    persistent_volume_claims: PersistentVolumeClaim,
    pod_disruption_budgets: PodDisruptionBudget,
    leases: Lease,
    namespaces: Namespace,
    jobs: Job,
    cron_jobs: CronJob,
    services: Service,
    endpoint_slices: EndpointSlice,
    endpoints: Endpoints,
    service_accounts: ServiceAccount,
    secrets: Secret,
    root_certificates: RootCertificate,
    cluster_infos: ClusterInfo,
    certificate_signing_requests: CertificateSigningRequest,
    persistent_volumes: PersistentVolume,
    storage_classes: StorageClass,
    volume_attributes_classes: VolumeAttributesClass,
    csi_nodes: CSINode,
    csi_drivers: CSIDriver,
    csi_storage_capacities: CSIStorageCapacity,
}

fn is_of<T: Object>(object: &Value) -> bool {
    fn text(value: &Value) -> &str {
        value.as_str().unwrap_or_default()
    }
    let metadata = &object["metadata"];
    *text(&object["kind"]) == *T::KIND.kind
        && *text(&object["apiVersion"]) == *T::KIND.api_version()
        && T::is_kept(text(&metadata["namespace"]), text(&metadata["name"]))
}

impl Caches {
    /// Caches that follow the server until the tasks are dropped.
    pub fn start(requests: &Requests, topics: &[Topic]) -> (Self, JoinSet<()>) {
        let (caches, mut tasks) = (Self::default(), JoinSet::new());
        for topic in topics {
            caches.follow(*topic, requests.clone(), &mut tasks);
        }
        (caches, tasks)
    }
}

fn observe<T: Object>(cache: &Cache<T>, answer: &[u8]) {
    // An answer that is no object tells nothing; the watch will.
    if let Ok(Read::Whole(object)) = reading::read::<T>(&T::KIND, answer)
        && T::is_kept(&object.meta().namespace, &object.meta().name)
    {
        cache.observe(object);
    }
}

/// The answer is the object where something holds it up, and else a `Status`, or the object as it last was.
fn observe_deletion<T: Object>(cache: &Cache<T>, key: &Key, answer: &[u8]) {
    if !T::is_kept(key.namespace(), key.name()) {
        return;
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Answer {
        kind: Box<str>,
    }
    let Answer { kind } = serde_json::from_slice(answer).unwrap_or_default();
    if *kind == *T::KIND.kind
        && let Ok(object) = serde_json::from_slice::<T>(answer)
        && object.is_held_up()
    {
        return cache.observe(object);
    }
    if let Some(known) = cache.get(key) {
        cache.forget(key, &known.meta().uid);
    }
}
