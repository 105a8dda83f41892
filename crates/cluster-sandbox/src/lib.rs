//! Linux containers: namespaces, cgroups, mounts, spawn.
