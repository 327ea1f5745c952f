use http_body_util::BodyExt;
use serde_json::json;

use super::*;
use crate::engine::{object::encode, testing::resource};

/// A stored config map with so much data.
fn stored(resource: &Resource, name: &str, data: usize) -> Arc<Entry> {
    let document = json!({"metadata": {"name": name}, "data": {"text": "x".repeat(data)}});
    let value = encode(resource, &document).fill(7);
    Arc::new(Entry { key: format!("configmaps/default/{name}").into(), value, created: 7, modified: 7 })
}

fn view(resource: &Arc<Resource>) -> View {
    let accepted = Accepted { format: Format::Json, shape: Shape::Object };
    View::new(Arc::clone(resource), accepted, Include::None, 0, Reader::nobody())
}

/// Whether the bytes are not a copy.
fn is_within(part: &[u8], entry: &Entry) -> bool {
    let (part, value) = (part.as_ptr_range(), entry.value.as_ptr_range());
    value.start <= part.start && part.end <= value.end
}

#[test]
fn only_large_objects_of_events_are_shared() {
    let resource = resource("configmaps");
    let (small, large) = (stored(&resource, "small", 100), stored(&resource, "large", 1_000_000));
    let mut chunk = Chunk::default();
    for entry in [&small, &small, &large, &small] {
        chunk.text().extend_from_slice(b"<");
        view(&resource).write_entry(&mut chunk, entry);
        chunk.text().extend_from_slice(b">");
    }
    let length = chunk.len();
    let parts: Vec<Bytes> = std::iter::from_fn(|| chunk.pop()).collect();
    assert!(chunk.is_empty());
    assert_eq!(parts.iter().map(Bytes::len).sum::<usize>(), length);
    assert_eq!(parts.len(), 3);
    assert!(is_within(&parts[1], &large));
    let json = |entry| String::from_utf8_lossy(Stored::of(entry).unwrap().json_slice()).into_owned();
    assert_eq!(parts[0], format!("<{0}><{0}><", json(&small)));
    assert_eq!(parts[1], json(&large));
    assert_eq!(parts[2], format!("><{}>", json(&small)));
}

#[tokio::test]
async fn a_list_copies_no_more_than_a_chunk_at_a_time() {
    let resource = resource("configmaps");
    for sizes in [
        &[][..],
        &[10],
        &[1_000_000],
        &[10, 200_000, 10, 10, 20_000, 20_000, 20_000, 10, 100_000, 100_000],
        &[15_000; 30],
        &[0; 2_000],
    ] {
        let entries: Vec<_> =
            sizes.iter().enumerate().map(|(at, size)| stored(&resource, &format!("a{at}"), *size)).collect();
        let page = Page { entries: entries.clone(), revision: 9, continue_token: None, remaining: None };
        let mut body = view(&resource).list(page).into_body();
        let told = http_body::Body::size_hint(&body).exact().unwrap();
        let mut arrived = Vec::new();
        while let Some(frame) = body.frame().await {
            let part = frame.unwrap().into_data().unwrap();
            let is_shared = entries.iter().any(|entry| is_within(&part, entry));
            assert!(is_shared || part.len() <= CHUNK_BYTES, "{} bytes copied at once", part.len());
            arrived.extend_from_slice(&part);
        }
        assert_eq!(arrived.len() as u64, told);
        let mut items: Vec<Value> = entries.iter().map(|entry| Stored::of(entry).unwrap().decode().unwrap()).collect();
        for item in &mut items {
            item.as_object_mut().unwrap().retain(|member, _| !matches!(member.as_str(), "kind" | "apiVersion"));
        }
        let list: Value = serde_json::from_slice(&arrived).unwrap();
        assert_eq!(list["metadata"], json!({"resourceVersion": "9"}));
        assert!(list["items"] == Value::from(items), "{sizes:?}");
    }
}

#[tokio::test]
async fn what_was_stored_under_another_schema_stands_in_its_place_in_a_list() {
    let current = resource("configmaps");
    let mut other = (*current).clone();
    other.schema_hash ^= 1;
    let entries = vec![stored(&current, "a", 10), stored(&other, "b", 10), stored(&current, "c", 10)];
    let page = Page { entries, revision: 9, continue_token: None, remaining: None };
    let body = view(&current).list(page).into_body().collect().await.unwrap().to_bytes();
    let list: Value = serde_json::from_slice(&body).unwrap();
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(list["items"].as_array().unwrap().iter().all(|item| item.get("kind").is_none()));
}

#[test]
fn a_column_of_dates_shows_ages() {
    let path = document::jsonpath::compile(".t").unwrap();
    for (value, expect) in [
        (json!("1970-01-01T00:00:00Z"), json!("100s")),
        (json!("yesterday"), json!("<invalid>")),
        (json!(""), json!("<unknown>")),
        (json!(5), Value::Null),
    ] {
        assert_eq!(custom_cell(&path, "date", &json!({"t": value}), 100), expect, "{value}");
    }
}
