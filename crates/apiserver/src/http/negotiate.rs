//! Which form a response takes: JSON or YAML, the object itself, its metadata, or a table.

use http::{HeaderMap, header};

/// How an object or a list is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub format: Format,
    pub shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    /// `application/json;stream=watch` and the like are JSON; YAML cannot be watched.
    Yaml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Object,
    /// `as=PartialObjectMetadata` and `as=PartialObjectMetadataList`.
    Metadata(MetaVersion),
    /// `as=Table`.
    Table(MetaVersion),
}

/// The versions of meta.k8s.io in which tables and partial metadata are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaVersion {
    V1,
    V1Beta1,
}

impl MetaVersion {
    pub fn api_version(self) -> &'static str {
        match self {
            MetaVersion::V1 => "meta.k8s.io/v1",
            MetaVersion::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// One media range of an `Accept` header, in the client's order.
#[derive(Debug, PartialEq)]
pub struct MediaRange<'a> {
    pub media_type: &'a str,
    pub parameters: Vec<(&'a str, &'a str)>,
}

impl MediaRange<'_> {
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// The ranges of all `Accept` headers, best first (RFC 9110, 12.5.1; equal weights keep their order).
pub fn media_ranges(headers: &HeaderMap) -> Vec<MediaRange<'_>> {
    let mut ranges: Vec<(f32, MediaRange<'_>)> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().filter(|media_type| !media_type.is_empty())?;
            let parameters: Vec<(&str, &str)> = parts
                .filter_map(|part| part.split_once('='))
                .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
                .collect();
            let range = MediaRange { media_type, parameters };
            let weight = range.parameter("q").and_then(|q| q.parse().ok()).unwrap_or(1.0);
            (weight > 0.0).then_some((weight, range))
        })
        .collect();
    ranges.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    ranges.into_iter().map(|(_, range)| range).collect()
}

/// The first acceptable form; `None` where the client accepts nothing that is served (406).
pub fn negotiate(headers: &HeaderMap) -> Option<Accepted> {
    let ranges = media_ranges(headers);
    if ranges.is_empty() {
        return Some(Accepted { format: Format::Json, shape: Shape::Object });
    }
    ranges.iter().find_map(accept)
}

/// The same for what is neither a table nor partial metadata, and cannot be shown as such.
pub fn negotiate_format(headers: &HeaderMap) -> Option<Format> {
    let ranges = media_ranges(headers);
    if ranges.is_empty() {
        return Some(Format::Json);
    }
    ranges.iter().filter_map(accept).find(|accepted| accepted.shape == Shape::Object).map(|accepted| accepted.format)
}

fn accept(range: &MediaRange<'_>) -> Option<Accepted> {
    let format = match range.media_type {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        _ => return None,
    };
    let shape = match range.parameter("as") {
        None | Some("") => Shape::Object,
        Some(_) if range.parameter("g").is_some_and(|group| group != "meta.k8s.io") => return None,
        Some(shape) => {
            let version = match range.parameter("v") {
                Some("v1") => MetaVersion::V1,
                Some("v1beta1") => MetaVersion::V1Beta1,
                _ => return None,
            };
            match shape {
                "Table" => Shape::Table(version),
                "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::Metadata(version),
                _ => return None,
            }
        }
    };
    Some(Accepted { format, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_acceptable_form_is_taken() {
        let check = |accept: &'static str, expect: Option<(Format, Shape)>| {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            let actual = negotiate(&headers).map(|accepted| (accepted.format, accepted.shape));
            assert_eq!(actual, expect, "{accept}");
        };
        check("", Some((Format::Json, Shape::Object)));
        check("*/*", Some((Format::Json, Shape::Object)));
        check("application/vnd.kubernetes.protobuf,application/json", Some((Format::Json, Shape::Object)));
        check("application/vnd.kubernetes.protobuf", None);
        check("application/yaml", Some((Format::Yaml, Shape::Object)));
        check("application/yaml;q=0.1, application/json;q=0.5", Some((Format::Json, Shape::Object)));
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Format::Json, Shape::Table(MetaVersion::V1))),
        );
        check("application/json;as=Table;v=v9;g=meta.k8s.io", None);
        check(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            Some((Format::Json, Shape::Metadata(MetaVersion::V1))),
        );
        check("text/html", None);
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, "application/json;as=Table;v=v1;g=meta.k8s.io".parse().unwrap());
        assert_eq!(negotiate_format(&headers), None);
        headers.append(header::ACCEPT, "application/yaml".parse().unwrap());
        assert_eq!(negotiate_format(&headers), Some(Format::Yaml));
    }
}
