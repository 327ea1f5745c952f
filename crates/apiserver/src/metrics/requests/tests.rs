use super::*;
use crate::http::target;

fn count(requests: &Requests, uri: &str, exists: bool, status: StatusCode, elapsed: Duration) {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let query = Query::parse(query);
    let target = target::resolve(&Method::GET, path, &query);
    let labels = Labels::of(&Method::GET, &target, path, &query, false);
    requests.series(labels, || exists).answered(SystemClient(0), status, elapsed, Some(10));
}

#[test]
fn requests_are_counted_by_what_they_asked() {
    let requests = Requests::default();
    let pods = "/api/v1/namespaces/a/pods";
    count(&requests, pods, true, StatusCode::OK, Duration::from_millis(30));
    count(&requests, pods, true, StatusCode::OK, Duration::from_secs(90));
    count(&requests, "/api/v1/nonsense", false, StatusCode::NOT_FOUND, Duration::ZERO);
    count(&requests, "/readyz/ping", true, StatusCode::OK, Duration::ZERO);
    let mut text = String::new();
    requests.write(&mut text, &|_| false);
    let labels = |dry_run: &str| {
        format!(
            "component=\"apiserver\",{dry_run}group=\"\",resource=\"pods\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\""
        )
    };
    for expect in [
        format!("apiserver_request_total{{code=\"200\",{},system_client=\"\"}} 2", labels("dry_run=\"\",")),
        format!("apiserver_request_duration_seconds_bucket{{{},le=\"0.05\"}} 1", labels("dry_run=\"\",")),
        format!("apiserver_request_sli_duration_seconds_bucket{{{},le=\"+Inf\"}} 2", labels("")),
        format!("apiserver_response_sizes_bucket{{{},le=\"1000\"}} 2", labels("")),
        "subresource=\"/readyz\",verb=\"GET\"".to_owned(),
        "component=\"\",dry_run=\"\",group=\"\",resource=\"\"".to_owned(),
        "verb=\"OTHER\"".to_owned(),
    ] {
        assert!(text.contains(&expect), "{expect}\n{text}");
    }
    assert!(!text.contains("nonsense"));
}

#[test]
fn what_is_gone_is_not_told_any_more() {
    let requests = Requests::default();
    let told = |what: &str| {
        let mut text = String::new();
        requests.write(&mut text, &|_| false);
        text.contains(what)
    };
    for uri in ["/api/v1/pods", "/apis/example.com/v1/widgets", "/readyz"] {
        count(&requests, uri, true, StatusCode::OK, Duration::ZERO);
    }
    requests.retain(|_| true);
    assert!(told("widgets"));
    requests.retain(|of| of.group != "example.com");
    assert!(!told("widgets"));
    assert!(told("pods") && told("/readyz"));
}

#[test]
fn a_watch_is_counted_while_it_goes_on() {
    let requests = Requests::default();
    let query = Query::parse("watch=1");
    let target = target::resolve(&Method::GET, "/api/v1/pods", &query);
    let series = requests.series(Labels::of(&Method::GET, &target, "/api/v1/pods", &query, false), || true);
    let written = |requests: &Requests| {
        let mut text = String::new();
        requests.write(&mut text, &|_| false);
        text.lines()
            .filter(|line| line.starts_with("apiserver_longrunning"))
            .map(|line| line[line.len() - 1..].to_owned())
            .collect::<String>()
    };
    let running = Running::of(series);
    running.series().told([100]);
    running.series().state_told(Duration::from_millis(70));
    assert_eq!(written(&requests), "1");
    drop(running);
    assert_eq!(written(&requests), "0");
}

#[test]
fn requests_are_told_apart_by_what_they_mean_for_the_server() {
    let requests = Requests::default();
    let query = Query::parse("watch=1&sendInitialEvents=true");
    for path in ["/api/v1/endpoints", "/api/v1/namespaces/a/endpoints", "/api/v1/pods"] {
        let target = target::resolve(&Method::GET, path, &query);
        let series = requests.series(Labels::of(&Method::GET, &target, path, &query, false), || true);
        for agent in ["kube-scheduler/v1.36.0 (linux/amd64)", "kubectl/v1.36.0", "kube-scheduler", ""] {
            let headers = HeaderMap::from_iter([(header::USER_AGENT, agent.parse().unwrap())]);
            series.answered(SystemClient::of(&headers), StatusCode::OK, Duration::ZERO, None);
        }
        series.told([1_500]);
        series.state_told(Duration::from_millis(70));
    }
    let target = target::resolve(&Method::GET, "/api/v1/pods", &Query::parse(""));
    requests.series(Labels::of(&Method::GET, &target, "", &Query::parse(""), false), || true).refused(429);
    let mut text = String::new();
    requests.write(&mut text, &|labels| labels.resource == "endpoints");
    let pods = "component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"cluster\",subresource=\"\",verb=\"LIST\",version=\"v1\"";
    for expect in [
        "verb=\"WATCH\",version=\"v1\",system_client=\"kube-scheduler\"} 1\n",
        "verb=\"WATCH\",version=\"v1\",system_client=\"\"} 3\n",
        &format!("apiserver_request_terminations_total{{code=\"429\",{pods}}} 1\n"),
        "apiserver_watch_events_sizes_bucket{group=\"\",resource=\"endpoints\",version=\"v1\",le=\"1024\"} 0\n",
        "apiserver_watch_events_sizes_count{group=\"\",resource=\"endpoints\",version=\"v1\"} 2\n",
        "apiserver_watch_list_duration_seconds_bucket{group=\"\",resource=\"pods\",scope=\"cluster\",version=\"v1\",le=\"0.1\"} 1\n",
        "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",subresource=\"\",version=\"v1\"} 1\n",
    ] {
        assert!(text.contains(expect), "{expect}\n{text}");
    }
    assert_eq!(text.matches("apiserver_requested_deprecated_apis{").count(), 1);
}

/// Dry runs, reads that call themselves one, and methods nobody knows: series that differ in what is not written.
#[test]
fn no_series_is_written_twice() {
    let requests = Requests::default();
    let asked = [
        (Method::DELETE, "/api/v1/namespaces/a/configmaps/x"),
        (Method::DELETE, "/api/v1/namespaces/a/configmaps/x?dryRun=All"),
        (Method::GET, "/api/v1/pods"),
        (Method::GET, "/api/v1/pods?dryRun=All"),
        (Method::GET, "/api/v1/pods?watch=1"),
        (Method::GET, "/api/v1/pods?watch=1&dryRun=All"),
        (Method::OPTIONS, "/"),
        (Method::GET, "/api/v1/nonsense"),
    ];
    for (method, uri) in asked {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let query = Query::parse(query);
        let target = target::resolve(&method, path, &query);
        let labels = Labels::of(&method, &target, path, &query, false);
        let series = requests.series(labels, || !path.ends_with("nonsense"));
        series.answered(SystemClient(0), StatusCode::OK, Duration::from_millis(30), Some(10));
        series.refused(429);
        series.told([100]);
        if uri.contains("watch") {
            series.state_told(Duration::from_millis(30));
        }
    }
    let mut text = String::new();
    requests.write(&mut text, &|_| true);
    let series = |line: &str| line.rsplit_once(' ').unwrap().0.to_owned();
    let mut written = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(written.insert(series(line), line).is_none(), "twice: {line}");
    }
    let alike = |name: &str, verb: &str| {
        let is_it = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(&format!("verb=\"{verb}\""));
        text.lines().filter(is_it).map(|line| line.rsplit_once(' ').unwrap().1).collect::<Vec<_>>()
    };
    for (name, verb, expect) in [
        ("apiserver_request_duration_seconds_count", "DELETE", vec!["1", "1"]),
        ("apiserver_request_sli_duration_seconds_count", "DELETE", vec!["1"]),
        ("apiserver_request_terminations_total", "DELETE", vec!["2"]),
        ("apiserver_response_sizes_count", "LIST", vec!["2"]),
        ("apiserver_request_total", "OTHER", vec!["2"]),
    ] {
        assert_eq!(alike(name, verb), expect, "{name}");
    }
}
