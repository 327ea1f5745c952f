//! A `kube::Client` of a server in this process or of one over HTTPS.
//!
//! Not here: which server there is. A part that is given a client cannot tell the two apart.

use std::{
    convert::Infallible,
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error(transparent)]
    Connect(#[from] kube::Error),
}

type Answer<B> = Pin<Box<dyn Future<Output = Response<B>> + Send>>;

/// A client of a server in this process: requests are handed over, without a socket or TLS.
pub fn in_process<B>(handle: impl Fn(Request<Body>) -> Answer<B> + Send + Sync + 'static) -> Client
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    Client::new(InProcess(Arc::new(handle)), "default")
}

/// A client by a kubeconfig file and, where given, one of its contexts.
pub async fn remote(kubeconfig: &Path, context: Option<&str>) -> Result<Client, ClientError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;
    Ok(Client::try_from(config)?)
}

struct InProcess<F>(Arc<F>);

impl<F, B> tower_service::Service<Request<Body>> for InProcess<F>
where
    F: Fn(Request<Body>) -> Answer<B> + Send + Sync + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = (self.0)(request);
        Box::pin(async move { Ok(answer.await) })
    }
}
