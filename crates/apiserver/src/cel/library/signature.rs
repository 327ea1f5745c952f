//! Reads the signatures that the tables are written in: `list<A>.indexOf(A): int`.

use crate::cel::types::Type;

#[derive(Debug)]
pub struct Signature {
    has_receiver: bool,
    /// The receiver first, where there is one.
    parameters: Vec<Type>,
    result: Type,
}

impl Signature {
    /// The type of the result for these arguments, if they fit.
    pub fn apply(&self, has_receiver: bool, arguments: &[&Type]) -> Option<Type> {
        if self.has_receiver != has_receiver || self.parameters.len() != arguments.len() {
            return None;
        }
        let mut bound = [None, None];
        let fits =
            self.parameters.iter().zip(arguments).all(|(parameter, argument)| parameter.accepts(argument, &mut bound));
        fits.then(|| self.result.resolved(&bound))
    }
}

/// The function's name and the signature. Signatures are constants of this crate, which a test reads
/// all of: a malformed one is a bug found there.
pub fn parse(text: &'static str) -> (&'static str, Signature) {
    let (head, result) = text.rsplit_once(": ").expect("a signature has a result");
    let (head, parameters) =
        head.strip_suffix(')').and_then(|head| head.split_once('(')).expect("a signature has parameters");
    // `string.size` has a receiver, `ip.isCanonical` is in a namespace: types are known names.
    let receiver = head.rsplit_once('.').and_then(|(of, name)| Some((known(of)?, name)));
    let (mut types, name, has_receiver) = match receiver {
        Some((of, name)) => (vec![of], name, true),
        None => (Vec::new(), head, false),
    };
    types.extend(split(parameters).into_iter().map(|part| known(part).expect("a parameter has a known type")));
    let result = known(result).expect("the result has a known type");
    (name, Signature { has_receiver, parameters: types, result })
}

/// Splits at the commas that are not inside `<>`.
fn split(list: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = list.split(|c: char| {
        depth += i32::from(c == '<') - i32::from(c == '>');
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn known(name: &str) -> Option<Type> {
    if let Some((outer, inner)) = name.strip_suffix('>').and_then(|name| name.split_once('<')) {
        let inner: Vec<Type> = split(inner).into_iter().map(known).collect::<Option<_>>()?;
        return match (outer, inner.as_slice()) {
            ("list", [item]) => Some(Type::list(item.clone())),
            ("map", [key, value]) => Some(Type::map(key.clone(), value.clone())),
            ("optional", [of]) => Some(Type::optional(of.clone())),
            _ => None,
        };
    }
    Some(match name {
        "A" => Type::Parameter(0),
        "B" => Type::Parameter(1),
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "type" => Type::Type,
        "URL" => Type::Opaque("kubernetes.URL"),
        "Quantity" => Type::Opaque("kubernetes.Quantity"),
        "IP" => Type::Opaque("net.IP"),
        "CIDR" => Type::Opaque("net.CIDR"),
        "Semver" => Type::Opaque("kubernetes.Semver"),
        "Format" => Type::Opaque("kubernetes.NamedFormat"),
        "Authorizer" => Type::Opaque("kubernetes.authorization.Authorizer"),
        "PathCheck" => Type::Opaque("kubernetes.authorization.PathCheck"),
        "GroupCheck" => Type::Opaque("kubernetes.authorization.GroupCheck"),
        "ResourceCheck" => Type::Opaque("kubernetes.authorization.ResourceCheck"),
        "Decision" => Type::Opaque("kubernetes.authorization.Decision"),
        _ => return None,
    })
}
