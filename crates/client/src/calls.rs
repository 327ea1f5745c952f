//! How many requests the parts of this process have made, under upstream's name.

use std::{collections::HashMap, fmt::Write, pin::Pin, sync::Arc};

use http::{Method, Request, Response};
use parking_lot::Mutex;

type Answer<B> = Pin<Box<dyn Future<Output = Response<B>> + Send>>;

/// Cheap to clone: clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<HashMap<(Method, u16), u64>>>);

impl Calls {
    /// Counts the requests that are handed to `handle`, once they are answered.
    pub fn counted<A: 'static, B: 'static>(
        &self,
        handle: impl Fn(Request<A>) -> Answer<B> + Send + Sync + 'static,
    ) -> impl Fn(Request<A>) -> Answer<B> + Send + Sync + 'static {
        let calls = self.clone();
        move |request| {
            let (calls, method) = (calls.clone(), request.method().clone());
            let answer = handle(request);
            Box::pin(async move {
                let answer = answer.await;
                *calls.0.lock().entry((method, answer.status().as_u16())).or_default() += 1;
                answer
            })
        }
    }

    /// `host`: the server that they went to.
    pub fn write_metrics(&self, out: &mut String, host: &str) {
        let name = "rest_client_requests_total";
        let _ = writeln!(out, "# HELP {name} Requests of this process, by their answer.\n# TYPE {name} counter");
        let mut counts: Vec<(u16, String, u64)> = Vec::new();
        counts.extend(self.0.lock().iter().map(|((method, code), count)| (*code, method.to_string(), *count)));
        counts.sort();
        for (code, method, count) in counts {
            let _ = writeln!(out, "{name}{{code=\"{code}\",host=\"{host}\",method=\"{method}\"}} {count}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_counted_by_code_and_method() {
        let calls = Calls::default();
        let answer = |request: Request<u16>| -> Answer<()> {
            let response = Response::builder().status(request.into_body()).body(()).unwrap();
            Box::pin(async move { response })
        };
        let handle = calls.counted(answer);
        for (method, code) in [("GET", 200), ("PUT", 409), ("GET", 404), ("GET", 200)] {
            let request = Request::builder().method(method).body(code).unwrap();
            assert_eq!(handle(request).await.status().as_u16(), code);
        }
        let mut text = String::new();
        calls.write_metrics(&mut text, "here");
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let name = "rest_client_requests_total";
        let expect = [(200, "GET", 2), (404, "GET", 1), (409, "PUT", 1)];
        let expect = expect.map(|(code, method, count)| {
            format!("{name}{{code=\"{code}\",host=\"here\",method=\"{method}\"}} {count}")
        });
        assert_eq!(series, expect);
    }
}
