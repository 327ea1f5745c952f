//! The network of pods on a node: links, service addresses, policies and names.
