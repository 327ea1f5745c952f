//! The messages, as far as our documents have their fields: JSON key, number, kind. Numbers: gnostic's
//! `OpenAPIv2.proto` and `OpenAPIv3.proto`.

use serde_json::Value;

use super::{
    Collection,
    Kind::{self, Any, Anys, Flag, Integer, Many, Number, One, Text, Texts},
    Message::{self, Choice, Entries, Fields},
};

/// What the documents of one version are made of.
#[derive(Debug)]
pub struct Tables {
    pub document: &'static Message,
    pub paths: Collection,
    pub schemas: Collection,
}

pub static V2: Tables = Tables {
    document: &v2::DOCUMENT,
    paths: Collection { number: 2, value: &v2::PATH_ITEM },
    schemas: Collection { number: 1, value: &v2::SCHEMA },
};

pub static V3: Tables = Tables {
    document: &v3::DOCUMENT,
    paths: Collection { number: 1, value: &v3::PATH_ITEM },
    schemas: Collection { number: 1, value: &v3::SCHEMA_OR_REFERENCE },
};

pub static V3_COMPONENTS: &Message = &v3::COMPONENTS;

/// Text, number or boolean, each with a field of its own; anything else has none.
fn default_value(value: &Value) -> Option<(u32, Kind)> {
    match value {
        Value::Number(_) => Some((1, Number)),
        Value::Bool(_) => Some((2, Flag)),
        Value::String(_) => Some((3, Text)),
        _ => None,
    }
}

fn first_if(condition: bool, first: Kind, second: Kind) -> Option<(u32, Kind)> {
    Some(if condition { (1, first) } else { (2, second) })
}

fn is_reference(value: &Value) -> bool {
    value.get("$ref").is_some_and(Value::is_string)
}

mod v3 {
    use super::*;

    pub static DOCUMENT: Message =
        Fields(&[("openapi", 1, Text), ("info", 2, One(&INFO)), ("paths", 4, Any), ("components", 5, Any)], 9);
    static INFO: Message = Fields(&[("title", 1, Text), ("description", 2, Text), ("version", 6, Text)], 7);
    pub static COMPONENTS: Message = Fields(
        &[("schemas", 1, Any), ("securitySchemes", 7, One(&Entries(1, One(&SECURITY_SCHEME_OR_REFERENCE))))],
        10,
    );
    static SECURITY_SCHEME_OR_REFERENCE: Message = Choice(|_| Some((1, One(&SECURITY_SCHEME))));
    static SECURITY_SCHEME: Message =
        Fields(&[("type", 1, Text), ("description", 2, Text), ("name", 3, Text), ("in", 4, Text)], 9);
    pub static PATH_ITEM: Message = Fields(
        &[
            ("get", 4, One(&OPERATION)),
            ("put", 5, One(&OPERATION)),
            ("post", 6, One(&OPERATION)),
            ("delete", 7, One(&OPERATION)),
            ("options", 8, One(&OPERATION)),
            ("head", 9, One(&OPERATION)),
            ("patch", 10, One(&OPERATION)),
            ("parameters", 13, Many(&PARAMETER_OR_REFERENCE)),
        ],
        14,
    );
    static OPERATION: Message = Fields(
        &[
            ("tags", 1, Texts),
            ("description", 3, Text),
            ("operationId", 5, Text),
            ("parameters", 6, Many(&PARAMETER_OR_REFERENCE)),
            ("requestBody", 7, One(&BODY_OR_REFERENCE)),
            ("responses", 8, One(&Entries(2, One(&RESPONSE_OR_REFERENCE)))),
        ],
        13,
    );
    static PARAMETER_OR_REFERENCE: Message = Choice(|_| Some((1, One(&PARAMETER))));
    static PARAMETER: Message = Fields(
        &[
            ("name", 1, Text),
            ("in", 2, Text),
            ("description", 3, Text),
            ("required", 4, Flag),
            ("schema", 10, One(&SCHEMA_OR_REFERENCE)),
        ],
        14,
    );
    static BODY_OR_REFERENCE: Message = Choice(|_| Some((1, One(&BODY))));
    static BODY: Message = Fields(
        &[("description", 1, Text), ("content", 2, One(&Entries(1, One(&MEDIA_TYPE)))), ("required", 3, Flag)],
        4,
    );
    static RESPONSE_OR_REFERENCE: Message = Choice(|_| Some((1, One(&RESPONSE))));
    static RESPONSE: Message =
        Fields(&[("description", 1, Text), ("content", 3, One(&Entries(1, One(&MEDIA_TYPE))))], 5);
    static MEDIA_TYPE: Message = Fields(&[("schema", 1, One(&SCHEMA_OR_REFERENCE))], 5);
    pub static SCHEMA_OR_REFERENCE: Message =
        Choice(|value| first_if(!is_reference(value), One(&SCHEMA), One(&REFERENCE)));
    static REFERENCE: Message = Fields(&[("$ref", 1, Text)], 0);
    static SCHEMA: Message = Fields(
        &[
            ("nullable", 1, Flag),
            ("externalDocs", 6, One(&EXTERNAL_DOCS)),
            ("example", 7, Any),
            ("title", 9, Text),
            ("multipleOf", 10, Number),
            ("maximum", 11, Number),
            ("exclusiveMaximum", 12, Flag),
            ("minimum", 13, Number),
            ("exclusiveMinimum", 14, Flag),
            ("maxLength", 15, Integer),
            ("minLength", 16, Integer),
            ("pattern", 17, Text),
            ("maxItems", 18, Integer),
            ("minItems", 19, Integer),
            ("uniqueItems", 20, Flag),
            ("maxProperties", 21, Integer),
            ("minProperties", 22, Integer),
            ("required", 23, Texts),
            ("enum", 24, Anys),
            ("type", 25, Text),
            ("allOf", 26, Many(&SCHEMA_OR_REFERENCE)),
            ("oneOf", 27, Many(&SCHEMA_OR_REFERENCE)),
            ("anyOf", 28, Many(&SCHEMA_OR_REFERENCE)),
            ("not", 29, One(&SCHEMA)),
            ("items", 30, One(&ITEMS)),
            ("properties", 31, One(&Entries(1, One(&SCHEMA_OR_REFERENCE)))),
            ("additionalProperties", 32, One(&ADDITIONAL_PROPERTIES)),
            ("default", 33, One(&DEFAULT)),
            ("description", 34, Text),
            ("format", 35, Text),
        ],
        36,
    );
    static EXTERNAL_DOCS: Message = Fields(&[("description", 1, Text), ("url", 2, Text)], 3);
    static ITEMS: Message = Choice(|_| Some((1, One(&SCHEMA_OR_REFERENCE))));
    static ADDITIONAL_PROPERTIES: Message =
        Choice(|value| first_if(!value.is_boolean(), One(&SCHEMA_OR_REFERENCE), Flag));
    static DEFAULT: Message = Choice(default_value);
}

mod v2 {
    use super::*;

    pub static DOCUMENT: Message = Fields(
        &[
            ("swagger", 1, Text),
            ("info", 2, One(&INFO)),
            ("paths", 8, Any),
            ("definitions", 9, Any),
            ("security", 12, Many(&Entries(1, One(&TEXTS)))),
            ("securityDefinitions", 13, One(&Entries(1, One(&SECURITY_DEFINITION)))),
        ],
        16,
    );
    static INFO: Message = Fields(&[("title", 1, Text), ("version", 2, Text), ("description", 3, Text)], 7);
    static TEXTS: Message = Choice(|_| Some((1, Texts)));
    static SECURITY_DEFINITION: Message = Choice(|_| Some((2, One(&API_KEY))));
    static API_KEY: Message =
        Fields(&[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)], 5);
    pub static PATH_ITEM: Message = Fields(
        &[
            ("get", 2, One(&OPERATION)),
            ("put", 3, One(&OPERATION)),
            ("post", 4, One(&OPERATION)),
            ("delete", 5, One(&OPERATION)),
            ("options", 6, One(&OPERATION)),
            ("head", 7, One(&OPERATION)),
            ("patch", 8, One(&OPERATION)),
            ("parameters", 9, Many(&PARAMETERS_ITEM)),
        ],
        10,
    );
    static OPERATION: Message = Fields(
        &[
            ("tags", 1, Texts),
            ("description", 3, Text),
            ("operationId", 5, Text),
            ("produces", 6, Texts),
            ("consumes", 7, Texts),
            ("parameters", 8, Many(&PARAMETERS_ITEM)),
            ("responses", 9, One(&Entries(1, One(&RESPONSE_VALUE)))),
            ("schemes", 10, Texts),
        ],
        13,
    );
    static PARAMETERS_ITEM: Message = Choice(|_| Some((1, One(&PARAMETER))));
    static PARAMETER: Message =
        Choice(|value| first_if(value["in"] == "body", One(&BODY_PARAMETER), One(&NON_BODY_PARAMETER)));
    static BODY_PARAMETER: Message = Fields(
        &[
            ("description", 1, Text),
            ("name", 2, Text),
            ("in", 3, Text),
            ("required", 4, Flag),
            ("schema", 5, One(&SCHEMA)),
        ],
        6,
    );
    static NON_BODY_PARAMETER: Message = Choice(|value| match value["in"].as_str() {
        Some("path") => Some((4, One(&PATH_PARAMETER))),
        _ => Some((3, One(&QUERY_PARAMETER))),
    });
    static QUERY_PARAMETER: Message = Fields(
        &[
            ("required", 1, Flag),
            ("in", 2, Text),
            ("description", 3, Text),
            ("name", 4, Text),
            ("type", 6, Text),
            ("uniqueItems", 20, Flag),
        ],
        23,
    );
    static PATH_PARAMETER: Message = Fields(
        &[
            ("required", 1, Flag),
            ("in", 2, Text),
            ("description", 3, Text),
            ("name", 4, Text),
            ("type", 5, Text),
            ("uniqueItems", 19, Flag),
        ],
        22,
    );
    static RESPONSE_VALUE: Message = Choice(|_| Some((1, One(&RESPONSE))));
    static RESPONSE: Message = Fields(&[("description", 1, Text), ("schema", 2, One(&SCHEMA_ITEM))], 5);
    static SCHEMA_ITEM: Message = Choice(|_| Some((1, One(&SCHEMA))));
    pub static SCHEMA: Message = Fields(
        &[
            ("$ref", 1, Text),
            ("format", 2, Text),
            ("title", 3, Text),
            ("description", 4, Text),
            ("default", 5, Any),
            ("multipleOf", 6, Number),
            ("maximum", 7, Number),
            ("exclusiveMaximum", 8, Flag),
            ("minimum", 9, Number),
            ("exclusiveMinimum", 10, Flag),
            ("maxLength", 11, Integer),
            ("minLength", 12, Integer),
            ("pattern", 13, Text),
            ("maxItems", 14, Integer),
            ("minItems", 15, Integer),
            ("uniqueItems", 16, Flag),
            ("maxProperties", 17, Integer),
            ("minProperties", 18, Integer),
            ("required", 19, Texts),
            ("enum", 20, Anys),
            ("additionalProperties", 21, One(&ADDITIONAL_PROPERTIES)),
            ("type", 22, One(&TYPE)),
            ("items", 23, One(&ITEMS)),
            ("allOf", 24, Many(&SCHEMA)),
            ("properties", 25, One(&Entries(1, One(&SCHEMA)))),
            ("externalDocs", 29, One(&EXTERNAL_DOCS)),
            ("example", 30, Any),
        ],
        31,
    );
    static EXTERNAL_DOCS: Message = Fields(&[("description", 1, Text), ("url", 2, Text)], 3);
    static TYPE: Message = Choice(|_| Some((1, Text)));
    static ITEMS: Message = Choice(|_| Some((1, One(&SCHEMA))));
    static ADDITIONAL_PROPERTIES: Message = Choice(|value| first_if(!value.is_boolean(), One(&SCHEMA), Flag));
}
