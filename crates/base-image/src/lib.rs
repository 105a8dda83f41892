//! OCI images: references, credentials, pull, push, content store, unpack, assemble, registry server.
