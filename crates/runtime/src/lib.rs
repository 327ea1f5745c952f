//! Containers: images, their snapshots, and the processes that run in them.
