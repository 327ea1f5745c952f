//! Paths in volumes: what keeps a file inside the directory it belongs to.

use crate::kinds::check::Node;

/// Neither absolute nor leading out of its directory.
pub fn local_descending(path: &Node<'_>) {
    if path.text().starts_with('/') {
        path.invalid_value(path.text(), "must be a relative path");
    }
    no_backsteps(path);
}

pub fn no_backsteps(path: &Node<'_>) {
    if path.text().split('/').any(|part| part == "..") {
        path.invalid_value(path.text(), "must not contain '..'");
    }
}

/// Names that begin with two dots are how volumes are swapped atomically.
pub fn local_non_reserved(path: &Node<'_>) {
    local_descending(path);
    if path.text().starts_with("..") && !path.text().starts_with("../") {
        path.invalid_value(path.text(), "must not start with '..'");
    }
}

pub fn file_mode(mode: &Node<'_>) {
    if mode.is_set() && !(0..=0o777).contains(&mode.integer()) {
        mode.invalid("must be a number between 0 and 0777 (octal), both inclusive");
    }
}
